package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/host/cgroup"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/task"
)

const (
	// beat is the time between two looks at the deadlines.
	beat = 40 * time.Millisecond
	// late is a gap between two beats that means that this process did not run.
	late = time.Second
	// DefaultLogBytes bounds a log file; two of them are kept.
	DefaultLogBytes = 8 << 20
	// pipeBound is how long a dead service's output is read on, when a process
	// that it left behind still holds it.
	pipeBound = time.Second
	// stopBound is how long Run waits for its goroutines once all services ended.
	stopBound = 5 * time.Second
	// noticeQueue bounds the messages that wait for the loop.
	noticeQueue = 64
)

// Service is one child process. Without a user and a group it runs as this
// process does.
type Service struct {
	Name   string
	Path   string   // the program
	Args   []string // without the program's name
	Limits Limits

	User    *syscall.Credential // nil: this process's own
	Caps    []uintptr           // capabilities that it keeps as that user
	Group   cgroup.Group        // it is born there, and killed with all it started; empty: none
	Bounds  cgroup.Bounds       // of the group
	OOM     int                 // oom_score_adj: who dies first when memory is short
	Sockets []Socket            // opened here, handed to each of its lives
	// Before, if not nil, is called before each start. An error is told, and the
	// service started all the same: it says best what it lacks.
	Before func() error
	// After, if not nil, is called when it has stopped for good.
	After func()
}

// Config says what is run.
type Config struct {
	Services []Service // in the order of starting
	Notify   string    // where the notify socket is made
	Logs     string    // folder; made if it is missing
	LogBytes int64     // bound of one log file; 0: the default
	// Beat, if not nil, is called at each turn of the loop: whoever feeds a
	// watchdog learns from it that services are still looked after.
	Beat func()
	// Changed, if not nil, is told what Status says each time that changes. It must
	// not block.
	Changed func([]Status)
	// Speakers is the group that may write to the notify socket; 0: this user alone.
	Speakers int
	// Restrict sets no_new_privs for all services: no program that they start can
	// have more rights than they have.
	Restrict bool
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var faults []error
	if c.Notify == "" || c.Logs == "" {
		faults = append(faults, errors.New("no notify socket, or no folder for logs"))
	}
	seen := map[string]bool{}
	for _, s := range c.Services {
		if err := ident.CheckName(s.Name); err != nil || seen[s.Name] || s.Path == "" {
			faults = append(faults, fmt.Errorf("service %q: a name or program is missing, wrong or used twice", s.Name))
		}
		seen[s.Name] = true
		for _, k := range s.Sockets {
			if err := k.Validate(); err != nil {
				faults = append(faults, fmt.Errorf("service %s: %w", s.Name, err))
			}
		}
		if err := s.Limits.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("service %s: %w", s.Name, err))
		}
	}
	return errors.Join(faults...)
}

// Status is a service as it is now.
type Status struct {
	Name     string `json:"name"`
	State    State  `json:"state"`
	PID      int    `json:"pid,omitempty"`
	Failures int    `json:"failures"`       // in a row
	Said     string `json:"said,omitempty"` // its STATUS, or how it ended
	Last     string `json:"last,omitempty"` // what its former life said at the end, if that failed
}

type exit struct {
	child  *child
	how    string
	failed bool
}

// child is one service; the loop owns it.
type child struct {
	service Service
	machine *Machine
	log     *LogFile
	cmd     *exec.Cmd // nil: no process
	voice   *voice    // of that process
	said    string
	last    string
	late    string       // why it was killed, if it took too long
	struck  bool         // killed by a fence, not yet gone
	group   cgroup.Group // where this life was born
	lives   int          // whose groups could not be removed
	sockets []*held
}

// Supervisor is the engine. Run is called once.
type Supervisor struct {
	cfg      Config
	clock    clock.Clock
	log      *slog.Logger
	socket   *net.UnixConn
	children []*child
	tasks    *task.Group
	notices  chan notice
	exits    chan exit
	kills    chan string
	anew     chan string

	mu     sync.Mutex // guards status
	status []Status
}

// New makes a supervisor; nothing is started yet.
func New(cfg Config, clk clock.Clock, log *slog.Logger) (*Supervisor, error) {
	if cfg.LogBytes == 0 {
		cfg.LogBytes = DefaultLogBytes
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("supervise configuration: %w", err)
	}
	return &Supervisor{
		cfg: cfg, clock: clk, log: log.With("room", "supervise"),
		notices: make(chan notice, noticeQueue), exits: make(chan exit, len(cfg.Services)), kills: make(chan string, len(cfg.Services)+1), anew: make(chan string, len(cfg.Services)+1),
	}, nil
}

// Run starts the services and keeps them running until ctx ends; then it stops
// them in reverse order and returns. allReady is called each time all of them
// have become ready.
func (s *Supervisor) Run(ctx context.Context, allReady func()) error {
	// PDEATHSIG belongs to the thread that starts the child: this one, for as long
	// as there are children.
	runtime.LockOSThread()
	if s.cfg.Restrict { // the thread is never given back: others must not inherit that
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("supervise: no_new_privs: %w", err)
		}
	} else {
		defer runtime.UnlockOSThread()
	}
	if err := s.open(); err != nil {
		return err
	}
	s.tasks = task.New(context.WithoutCancel(ctx))
	s.tasks.Go("notices", s.hear)
	s.loop(ctx, allReady)
	err := s.socket.Close()
	err = errors.Join(err, s.tasks.Stop(stopBound))
	for _, c := range s.children {
		err = errors.Join(err, c.log.Close())
		for _, h := range c.sockets {
			h.close()
		}
	}
	if err != nil {
		return fmt.Errorf("stop services: %w", err)
	}
	return nil
}

func (s *Supervisor) open() error {
	if err := os.MkdirAll(s.cfg.Logs, 0o700); err != nil {
		return fmt.Errorf("make log folder: %w", err)
	}
	var err error
	if s.socket, err = ListenDatagrams(s.cfg.Notify, s.cfg.Speakers); err != nil {
		return err
	}
	for _, sv := range s.cfg.Services {
		log, err := OpenLog(filepath.Join(s.cfg.Logs, sv.Name+".log"), s.cfg.LogBytes)
		if err != nil {
			return errors.Join(err, s.socket.Close())
		}
		c := &child{service: sv, machine: NewMachine(sv.Limits), log: log}
		for _, k := range sv.Sockets {
			c.sockets = append(c.sockets, &held{socket: k})
		}
		s.children = append(s.children, c)
		c.group = sv.Group
		s.sweep(c) // what a former life of this process left
	}
	return nil
}

// KillNow kills a service, if it lives, silences its Quiet sockets, and lets it be
// started again: what a fence does. It only asks; the loop does it at its next turn.
func (s *Supervisor) KillNow(name string) {
	select {
	case s.kills <- name:
	default: // as many are asked for already as there are services
	}
}

// Restart ends a service in order, if it lives, and lets it be started again; one that
// takes too long is killed. It only asks, as KillNow does.
func (s *Supervisor) Restart(name string) {
	select {
	case s.anew <- name:
	default:
	}
}

// Status describes all services.
func (s *Supervisor) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Status(nil), s.status...)
}

func (s *Supervisor) loop(ctx context.Context, allReady func()) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for _, c := range s.children {
		s.step(c, Start)
	}
	last, told := s.clock.Now(), false
	for {
		select {
		case n := <-s.notices:
			s.noticed(n)
		case e := <-s.exits:
			s.exited(e)
		case name := <-s.kills:
			for _, c := range s.children {
				if c.service.Name == name {
					s.strike(c)
				}
			}
		case name := <-s.anew:
			for _, c := range s.children {
				if c.service.Name == name {
					s.step(c, Renew)
				}
			}
		case <-tick.C:
			now := s.clock.Now()
			if gap := now.Sub(last); gap > late {
				s.log.Warn("this process stood still", "for", gap)
				for _, c := range s.children {
					c.machine.Forgive(gap)
				}
			}
			last = now
			if s.cfg.Beat != nil {
				s.cfg.Beat()
			}
			for _, c := range s.children {
				s.step(c, Tick)
			}
		}
		if ctx.Err() != nil && !s.stopNext() {
			s.publish()
			return
		}
		if ready := s.publish(); ready != told {
			if told = ready; ready {
				allReady()
			}
		}
	}
}

// stopNext stops the last service that is not stopped; false when all are.
func (s *Supervisor) stopNext() bool {
	running := false
	for i := len(s.children) - 1; i >= 0; i-- {
		c := s.children[i]
		switch c.machine.State() {
		case Stopped:
			continue
		case BackOff: // it has no process, and must not get one
			s.step(c, Stop)
			continue
		case Stopping:
		default:
			if !running {
				s.step(c, Stop)
			}
		}
		running = true
	}
	return running
}

// publish copies the status, and reports whether all services are ready.
func (s *Supervisor) publish() bool {
	all := make([]Status, len(s.children))
	ready := true
	for i, c := range s.children {
		all[i] = Status{Name: c.service.Name, State: c.machine.State(), Failures: c.machine.Failures(), Said: c.said, Last: c.last}
		if c.cmd != nil {
			all[i].PID = c.cmd.Process.Pid
		}
		ready = ready && c.machine.State() == Ready
	}
	s.mu.Lock()
	changed := !slices.Equal(s.status, all)
	s.status = all
	s.mu.Unlock()
	if changed && s.cfg.Changed != nil {
		s.cfg.Changed(slices.Clone(all))
	}
	return ready
}

// step applies an event, does what follows, and says what changed.
func (s *Supervisor) step(c *child, e Event) {
	old := c.machine.State()
	action := c.machine.Step(s.clock.Now(), e)
	if now := c.machine.State(); now != old {
		s.log.Info("service", "service", c.service.Name, "old", old, "new", now, "cause", c.said)
	}
	switch action {
	case Spawn:
		c.said = ""
		if err := s.spawn(c); err != nil {
			c.said = err.Error()
			s.step(c, Exited)
		}
	case Terminate:
		s.signal(c, syscall.SIGTERM)
	case Kill:
		switch old {
		case Starting:
			c.late = fmt.Sprintf("it was not ready within %v", c.service.Limits.Ready)
		case Ready:
			c.late = fmt.Sprintf("it gave no sign of life for %v", c.service.Limits.Watchdog)
		}
		s.log.Warn("service is killed, it took too long", "service", c.service.Name, "state", old)
		s.signal(c, syscall.SIGKILL)
	}
}

func (s *Supervisor) exited(e exit) {
	c := e.child
	c.last = ""
	if c.machine.State() != Stopping || e.failed {
		c.last = c.voice.words()
	}
	if c.late != "" {
		e.how, c.last = c.late, strings.TrimSuffix(c.late+": "+c.last, ": ")
	}
	c.cmd, c.said, c.late = nil, e.how, ""
	s.sweep(c)
	if c.struck { // it may have listened once more before it died
		c.struck = false
		s.silence(c)
	}
	s.step(c, Exited)
	if c.machine.State() != Stopped {
		return
	}
	for _, h := range c.sockets { // nobody is to wait for a next life
		h.close()
	}
	if c.service.After != nil {
		c.service.After()
	}
}

// noticed takes a message of a service's main process; others have no say.
func (s *Supervisor) noticed(n notice) {
	for _, c := range s.children {
		if c.cmd == nil || c.cmd.Process.Pid != n.pid {
			continue
		}
		if n.status != nil {
			c.said = *n.status
		}
		for _, e := range n.events {
			s.step(c, e)
		}
	}
}
