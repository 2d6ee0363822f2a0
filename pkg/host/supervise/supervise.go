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
	"strconv"
	"sync"
	"syscall"
	"time"

	"beffroi.dev/pkg/clock"
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

// Service is one child process.
type Service struct {
	Name   string
	Path   string   // the program
	Args   []string // without the program's name
	Limits Limits
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
}

type exit struct {
	child *child
	how   string
}

// child is one service; the loop owns it.
type child struct {
	service Service
	machine *Machine
	log     *LogFile
	cmd     *exec.Cmd // nil: no process
	said    string
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
		notices: make(chan notice, noticeQueue), exits: make(chan exit, len(cfg.Services)), kills: make(chan string, len(cfg.Services)+1),
	}, nil
}

// Run starts the services and keeps them running until ctx ends; then it stops
// them in reverse order and returns. allReady is called each time all of them
// have become ready.
func (s *Supervisor) Run(ctx context.Context, allReady func()) error {
	// PDEATHSIG belongs to the thread that starts the child: this one, for as long
	// as there are children.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
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
	if s.socket, err = ListenDatagrams(s.cfg.Notify); err != nil {
		return err
	}
	for _, sv := range s.cfg.Services {
		log, err := OpenLog(filepath.Join(s.cfg.Logs, sv.Name+".log"), s.cfg.LogBytes)
		if err != nil {
			return errors.Join(err, s.socket.Close())
		}
		s.children = append(s.children, &child{service: sv, machine: NewMachine(sv.Limits), log: log})
	}
	return nil
}

// KillNow kills a service's process, if it has one, and lets it be started
// again: what a fence does. It only asks; the loop does it at its next turn.
func (s *Supervisor) KillNow(name string) {
	select {
	case s.kills <- name:
	default: // as many are asked for already as there are services
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
				if c.service.Name == name && c.cmd != nil {
					s.log.Warn("service is killed", "service", name, "pid", c.cmd.Process.Pid)
					s.signal(c, syscall.SIGKILL)
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
		all[i] = Status{Name: c.service.Name, State: c.machine.State(), Failures: c.machine.Failures(), Said: c.said}
		if c.cmd != nil {
			all[i].PID = c.cmd.Process.Pid
		}
		ready = ready && c.machine.State() == Ready
	}
	s.mu.Lock()
	s.status = all
	s.mu.Unlock()
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
		s.log.Warn("service is killed, it took too long", "service", c.service.Name, "state", old)
		s.signal(c, syscall.SIGKILL)
	}
}

func (s *Supervisor) signal(c *child, sig os.Signal) {
	if c.cmd == nil {
		return
	}
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.log.Error("signal failed", "service", c.service.Name, "signal", sig, "cause", err)
	}
}

func (s *Supervisor) spawn(c *child) error {
	sv := c.service
	cmd := exec.Command(sv.Path, sv.Args...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+s.cfg.Notify)
	if sv.Limits.Watchdog > 0 {
		cmd.Env = append(cmd.Env, "WATCHDOG_USEC="+strconv.FormatInt(sv.Limits.Watchdog.Microseconds(), 10))
	}
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.WaitDelay = pipeBound
	// A group of its own: a terminal's ^C reaches the parent alone, which stops
	// the services in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", sv.Name, err)
	}
	c.cmd = cmd
	s.tasks.Go("wait for "+sv.Name, func(ctx context.Context) error {
		how := "ended by itself"
		if err := cmd.Wait(); err != nil {
			how = err.Error()
		}
		select {
		case s.exits <- exit{c, how}:
		case <-ctx.Done():
		}
		return nil
	})
	return nil
}

func (s *Supervisor) exited(e exit) {
	e.child.cmd, e.child.said = nil, e.how
	s.step(e.child, Exited)
}

// noticed takes a message of a service's main process; others have no say.
func (s *Supervisor) noticed(n notice) {
	for _, c := range s.children {
		if c.cmd == nil || c.cmd.Process.Pid != n.pid {
			continue
		}
		if n.status != "" {
			c.said = n.status
		}
		for _, e := range n.events {
			s.step(c, e)
		}
	}
}
