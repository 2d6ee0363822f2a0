package boot

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"beffroi.dev/pkg/host/watchdog"
	"beffroi.dev/pkg/task"
)

// feeder feeds the watchdog for as long as its vigil finds no fault. When it finds one
// it says so where a person or the next boot can read it, and stops: the hardware resets
// the machine. Shortly before that it has the kernel panic, because a reset keeps no
// words and a panic does (package pstore).
type feeder struct {
	tasks *task.Group // its own: it outlives all others
	log   *slog.Logger
	from  time.Time                    // of the clock that the vigil is told
	say   func(french, english string) // on the kernel's log, and so on its consoles
	crash func()

	mu      sync.Mutex // guards all below
	vigil   vigil
	refused int // in a row
	dog     *watchdog.Watchdog
}

// lastRefusal is the refusal at which the kernel is to panic. The watchdog asks five
// times in each timeout: a fifth of it is left for the kernel's last words.
const lastRefusal = 4

func newFeeder(ctx context.Context, log *slog.Logger) *feeder {
	return &feeder{tasks: task.New(context.WithoutCancel(ctx)), log: log, from: time.Now(), say: sayToKernel, crash: crashKernel}
}

func (f *feeder) start(w *watchdog.Watchdog) {
	f.mu.Lock()
	f.dog = w
	f.mu.Unlock()
	f.tasks.Go("watchdog", func(ctx context.Context) error {
		err := w.Feed(ctx, f.good)
		if err != nil {
			f.log.Error("the watchdog cannot be fed: the machine will be reset", "cause", err)
		}
		return err
	})
}

// tell tells the vigil something, and the time.
func (f *feeder) tell(what func(v *vigil, now time.Duration)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what(&f.vigil, time.Since(f.from))
}

func (f *feeder) enter(phase string, bound time.Duration) {
	f.tell(func(v *vigil, now time.Duration) { v.enter(now, phase, bound) })
}

func (f *feeder) within(bound time.Duration) {
	f.tell(func(v *vigil, now time.Duration) { v.within(now, bound) })
}

func (f *feeder) moves() { f.tell((*vigil).moves) }

func (f *feeder) linger(on bool) {
	f.tell(func(v *vigil, now time.Duration) { v.linger(now, on) })
}

func (f *feeder) watch() { f.tell((*vigil).watch) }

func (f *feeder) beat(l loop, well bool) {
	f.tell(func(v *vigil, now time.Duration) { v.beat(now, l, well) })
}

// good is asked by the watchdog, a few times in each of its timeouts.
func (f *feeder) good() bool {
	f.mu.Lock()
	french, english := f.vigil.fault(time.Since(f.from))
	if f.refused++; english == "" {
		f.refused = 0
	}
	refused := f.refused
	f.mu.Unlock()
	switch refused {
	case 0:
		return true
	case 1:
		f.log.Error("the watchdog is not fed: the machine will be reset", "cause", english)
		f.say(french, english)
	case lastRefusal:
		f.crash()
	}
	return false
}

// disarm is the last thing before the machine ends.
func (f *feeder) disarm() {
	if err := f.tasks.Stop(time.Second); err != nil {
		f.log.Warn("the watchdog's feeding", "cause", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dog == nil {
		return
	}
	if err := f.dog.Disarm(); err != nil {
		f.log.Warn("the watchdog cannot be stopped", "cause", err)
	}
	f.dog = nil
}

// sayToKernel writes to the kernel's log, as critical: its consoles show it, and a panic
// keeps it. Package pstore knows the English words.
func sayToKernel(french, english string) {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return // init's log has it
	}
	defer f.Close()
	fmt.Fprintf(f, "<2>beffroi: le chien de garde n'est plus nourri, la machine va redémarrer : %s\n", french)
	fmt.Fprintf(f, "<2>beffroi: the watchdog is not fed, the machine will be reset: %s\n", english)
}

// crashKernel has the kernel panic. Where it cannot, the watchdog does the rest.
func crashKernel() { _ = os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0) }
