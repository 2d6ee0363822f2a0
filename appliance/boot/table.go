package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"beffroi.dev/appliance/leave"
)

// State of a phase.
type State string

// The states.
const (
	Waiting State = "waiting"
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"  // it is tried again
	Skipped State = "skipped" // it failed, and the node goes on without it
)

// Phase is one step of a boot.
type Phase struct {
	Name string
	Run  func(ctx context.Context) (note string, err error)
	// Must says that the node cannot go on without it: it is tried again until it
	// succeeds.
	Must bool
	// Within is how long one try may go on without an end or a sign that it gets on,
	// before the watchdog is not fed any more; 0 is for ever.
	Within time.Duration
}

// Line is what the table says of one phase.
type Line struct {
	Name    string  `json:"name"`
	State   State   `json:"state"`
	Seconds float64 `json:"seconds"`
	Note    string  `json:"note,omitempty"`
	Error   string  `json:"error,omitempty"`
	Fault   Fault   `json:"fault,omitempty"` // what the error is, if it has a name
	// Roles are those of the network that the error is about.
	Roles []string `json:"roles,omitempty"`
}

// Table is the state of a boot, as run/boot.json holds it.
type Table struct {
	Version string `json:"version"` // of the release
	Phases  []Line `json:"phases"`
	// Ready is how long the kernel has run when all services were ready, seconds.
	Ready float64 `json:"ready,omitempty"`
	// Trial is how the entry that was booted fares; nil when it is not on trial.
	Trial *Trial `json:"trial,omitempty"`
	// Watchdog is the one that is armed; nil when there is none.
	Watchdog *Watchdog `json:"watchdog,omitempty"`
	// Ending is what a machine that goes down still waits for; nil when it does not.
	Ending *leave.Progress `json:"ending,omitempty"`
}

// Watchdog is one that init feeds.
type Watchdog struct {
	Driver  string  `json:"driver"` // as it names itself
	Seconds float64 `json:"seconds"`
}

// Sequence runs phases. It owns the table.
type Sequence struct {
	phases []Phase
	retry  time.Duration
	file   string                                   // boot.json
	enter  func(phase string, within time.Duration) // told as each try begins; and as it ends, what follows

	saving sync.Mutex // held while the table is written: the newest is written last

	mu      sync.Mutex // guards what follows
	table   Table
	failing string    // the phase whose last try has failed, and which is tried again
	began   time.Time // the try that runs
	over    bool      // all phases are
	out     io.Writer // the console; nil once another program draws there
}

// NewSequence makes a sequence that writes its table to file after each change and
// one line for each phase to out. A phase that must succeed is tried again after
// retry.
func NewSequence(version, file string, out io.Writer, retry time.Duration, phases []Phase) *Sequence {
	s := &Sequence{phases: phases, retry: retry, out: out, file: file, enter: func(string, time.Duration) {}, table: Table{Version: version}}
	for _, p := range phases {
		s.table.Phases = append(s.table.Phases, Line{Name: p.Name, State: Waiting})
	}
	return s
}

// Table returns the state of the boot now.
func (s *Sequence) Table() Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table
	t.Phases = append([]Line(nil), t.Phases...)
	return t
}

// Run runs all phases; it ends early only with ctx.
func (s *Sequence) Run(ctx context.Context) error {
	for i := range s.phases {
		for {
			err := s.once(ctx, i)
			if err == nil || !s.phases[i].Must {
				s.progress("", i == len(s.phases)-1)
				break
			}
			s.progress(s.phases[i].Name, false)
			select {
			case <-ctx.Done():
				return fmt.Errorf("boot stopped in phase %s: %w", s.phases[i].Name, errors.Join(ctx.Err(), err))
			case <-time.After(s.retry):
			}
		}
	}
	return ctx.Err()
}

func (s *Sequence) progress(failing string, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing, s.began, s.over = failing, time.Time{}, over
}

// getsOn is how long a try runs that does not fail as the one before: it waits for a person,
// or has much to do.
const getsOn = time.Minute

// Progress is the phase that is tried again because it has failed, if there is one, and
// whether all phases are over.
func (s *Sequence) Progress() (failing string, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.began.IsZero() && time.Since(s.began) > getsOn {
		return "", s.over
	}
	return s.failing, s.over
}

func (s *Sequence) once(ctx context.Context, i int) error {
	p, begun := s.phases[i], time.Now()
	s.mu.Lock()
	s.began = begun
	s.mu.Unlock()
	s.enter(p.Name, p.Within)
	defer s.enter("after "+p.Name, pausing)
	s.set(i, Line{Name: p.Name, State: Running})
	note, err := p.Run(ctx)
	l := Line{Name: p.Name, State: Done, Seconds: time.Since(begun).Seconds(), Note: note}
	if err != nil {
		l.Error, l.Fault, l.Roles = err.Error(), faultOf(err), rolesOf(err)
		if l.State = Failed; !p.Must {
			l.State = Skipped
		}
	}
	s.set(i, l)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out != nil {
		fmt.Fprintln(s.out, l)
	}
	return err
}

// Quiet ends the lines on the console: another program draws there from now on.
func (s *Sequence) Quiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = nil
}

// String is the line as the console shows it.
func (l Line) String() string {
	text := l.Note
	if l.Error != "" {
		text = l.Error
	}
	return strings.TrimRight(fmt.Sprintf("%-10s %-8s %6.2f s  %s", l.Name, l.State, l.Seconds, text), " ")
}

func (s *Sequence) set(i int, l Line) {
	s.mu.Lock()
	s.table.Phases[i] = l
	s.mu.Unlock()
	s.save()
}

// SetReady records that all services are ready, once.
func (s *Sequence) SetReady(uptime time.Duration) {
	s.mu.Lock()
	first := s.table.Ready == 0
	if first {
		s.table.Ready = uptime.Seconds()
	}
	failed := len(s.table.Phases) > len(s.phases)
	s.mu.Unlock()
	if failed {
		s.setServices(Line{Name: servicesPhase, State: Done})
	}
	if first {
		s.save()
	}
}

// servicesPhase is what follows the phases; it is a line only when it has failed.
const servicesPhase = "services"

// ServicesFailed records why the services cannot be run.
func (s *Sequence) ServicesFailed(err error) {
	s.setServices(Line{Name: servicesPhase, State: Failed, Error: err.Error()})
}

// setServices puts the line of the services after those of the phases.
func (s *Sequence) setServices(l Line) {
	s.mu.Lock()
	s.table.Phases = append(s.table.Phases[:len(s.phases)], l)
	s.mu.Unlock()
	s.save()
}

// SetWatchdog records which watchdog is armed.
func (s *Sequence) SetWatchdog(w Watchdog) {
	s.mu.Lock()
	s.table.Watchdog = &w
	s.mu.Unlock()
	s.save()
}

// SetTrial records how a boot on trial fares, and reports whether that is news.
func (s *Sequence) SetTrial(t Trial) bool {
	s.mu.Lock()
	news := s.table.Trial == nil || *s.table.Trial != t
	s.table.Trial = &t
	s.mu.Unlock()
	if news {
		s.save()
	}
	return news
}

// SetEnding records what a machine that goes down still waits for.
func (s *Sequence) SetEnding(waits leave.Progress) {
	s.mu.Lock()
	s.table.Ending = &waits
	s.mu.Unlock()
	s.save()
}

// save writes the table for the serial console. Before its folder exists, or when
// it is full, the table is only on the console.
func (s *Sequence) save() {
	s.saving.Lock()
	defer s.saving.Unlock()
	b, err := json.Marshal(s.Table())
	if err != nil {
		return
	}
	tmp := s.file + ".new"
	if os.MkdirAll(filepath.Dir(s.file), 0o755) == nil && os.WriteFile(tmp, b, 0o644) == nil {
		_ = os.Rename(tmp, s.file)
	}
}
