package boot

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"beffroi.dev/pkg/host/watchdog"
	"beffroi.dev/pkg/task"
)

// stale is how old the last good beat of init's own loops may be.
const stale = 10 * time.Second

// feeder feeds the watchdog: while the boot goes on, and then for as long as the
// loops that execute the fences and keep the services say that all is well. A beat
// that says otherwise, or no beat at all, stops the feeding.
type feeder struct {
	tasks *task.Group
	log   *slog.Logger
	from  time.Time // of the clock that beats are measured by

	watched atomic.Bool
	fence   atomic.Int64 // since from
	loop    atomic.Int64

	mu  sync.Mutex
	dog *watchdog.Watchdog
}

func newFeeder(tasks *task.Group, log *slog.Logger) *feeder {
	return &feeder{tasks: tasks, log: log, from: time.Now()}
}

func (f *feeder) start(w *watchdog.Watchdog) {
	f.mu.Lock()
	f.dog = w
	f.mu.Unlock()
	f.tasks.Go("watchdog", func(ctx context.Context) error { return w.Feed(ctx, f.good) })
}

// watch begins to ask for beats.
func (f *feeder) watch() {
	f.beat(&f.fence, true)
	f.beat(&f.loop, true)
	f.watched.Store(true)
}

func (f *feeder) beat(which *atomic.Int64, ok bool) {
	if ok {
		which.Store(int64(time.Since(f.from)))
	}
}

func (f *feeder) good() bool {
	if !f.watched.Load() {
		return true
	}
	now := time.Since(f.from)
	oldest := time.Duration(min(f.fence.Load(), f.loop.Load()))
	if now-oldest < stale {
		return true
	}
	f.log.Error("the watchdog is not fed: init's loops do not move, or a guest that must die lives", "since", now-oldest)
	return false
}

func (f *feeder) disarm() {
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
