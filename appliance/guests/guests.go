package guests

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/control"
	"beffroi.dev/pkg/guest/accel"
	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/guest/vm"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/task"
)

const (
	reportEvery = time.Second
	stopBound   = 12 * time.Second // letting go of a VM takes up to 10 s
	askBound    = 25 * time.Second // of a proposal: the node service answers within 20 s
	retryWait   = 250 * time.Millisecond
	openRetry   = 5 * time.Second // of a folder that cannot be used
)

// service owns all machines. Only the goroutine of run touches it; others send to
// its channels.
type service struct {
	cfg    Config
	ctl    Control
	log    *slog.Logger
	tasks  *task.Group
	groups *vm.Cgroups
	lines  *lines
	cables *cables
	report *reporter
	drain  drain

	state    *cluster.State
	order    *control.Order
	accel    qemu.Accel // empty until probed
	machines map[string]*machine

	states  chan *cluster.State
	orders  chan control.Order
	probed  chan accel.Answer
	done    chan done
	changes chan struct{} // some machine changed
}

// Run is the vm service, until ctx ends. Guests live on.
func Run(ctx context.Context, cfg Config, ctl Control, log *slog.Logger) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("vm service: %w", err)
	}
	cfg = cfg.withDefaults()
	log = log.With("room", "guests")
	lock, err := takeFolder(cfg)
	if err != nil {
		return fmt.Errorf("vm service: %w", err)
	}
	defer lock.Close()
	s := &service{
		cfg: cfg, ctl: ctl, log: log, tasks: task.New(ctx), machines: map[string]*machine{}, lines: newLines(), cables: newCables(cfg.Taps, log),
		groups: vm.DetectCgroups(log).Of(cfg.Self.String()),
		states: make(chan *cluster.State), orders: make(chan control.Order), probed: make(chan accel.Answer), done: make(chan done), changes: make(chan struct{}, 1),
	}
	s.report = newReporter(ctl, log)
	if err := s.find(); err != nil {
		return fmt.Errorf("vm service: %w", err)
	}
	if err := s.listen(); err != nil {
		s.letGo()
		return fmt.Errorf("vm service: %w", err)
	}
	s.tasks.Go("state", s.watchState)
	s.tasks.Go("order", s.watchOrder)
	s.tasks.Go("probe", s.probe)
	s.tasks.Go("report", s.report.run)
	s.tasks.Go("cables", s.cables.run)
	s.tasks.Go("machines", s.run)
	err = s.tasks.Wait(ctx, stopBound)
	s.letGo()
	return err
}

// takeFolder makes the folders and keeps a second vm service away.
func takeFolder(cfg Config) (*os.File, error) {
	for _, d := range []string{cfg.Dir.Guests(), cfg.Dir.Run()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
	}
	path := filepath.Join(cfg.Dir.Guests(), ".lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock guests: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock guests: another vm service works in %s: %w", cfg.Dir.Guests(), err), f.Close())
	}
	return f, nil
}

// find takes charge of every machine that has a folder here.
func (s *service) find() error {
	entries, err := os.ReadDir(s.cfg.Dir.Guests())
	if err != nil {
		return fmt.Errorf("look for guests: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() && ident.CheckName(e.Name()) == nil {
			s.machine(e.Name())
		}
	}
	return nil
}

// machine finds the machine of a name, or takes charge of it.
func (s *service) machine(name string) *machine {
	m := s.machines[name]
	if m == nil {
		m = &machine{name: name, folder: filepath.Join(s.cfg.Dir.Guests(), name)}
		s.machines[name] = m
		s.open(m)
	}
	return m
}

func (s *service) letGo() {
	for _, name := range slices.Sorted(maps.Keys(s.machines)) {
		if m := s.machines[name]; m.vm != nil {
			if err := m.vm.Close(); err != nil {
				s.log.Warn("guest not let go of", "vm", name, "cause", err)
			}
		}
	}
}

func (s *service) watchState(ctx context.Context) error {
	for after := uint64(0); ; {
		st, err := s.ctl.Watch(ctx, after)
		if err != nil {
			if !pause(ctx, retryWait) {
				return nil
			}
			continue
		}
		after = st.Index
		select {
		case s.states <- st:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *service) watchOrder(ctx context.Context) error {
	for after := uint64(0); ; {
		o, err := s.ctl.Order(ctx, after)
		if err != nil {
			after = 0 // another life of the node service counts anew
			if !pause(ctx, retryWait) {
				return nil
			}
			continue
		}
		after = o.Serial
		select {
		case s.orders <- o:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *service) probe(ctx context.Context) error {
	a := accel.New(s.cfg.QEMU.QEMU).Probe(ctx)
	if a.Reason != "" {
		s.log.Info("guests are emulated", "cause", a.Reason)
	}
	select {
	case s.probed <- a:
	case <-ctx.Done():
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// run takes one event at a time and then sets every machine right.
func (s *service) run(ctx context.Context) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		s.settle(time.Now())
		s.report.put(s.parts())
		select {
		case <-ctx.Done():
			return nil
		case s.state = <-s.states:
		case o := <-s.orders:
			s.order = &o
		case a := <-s.probed:
			s.accel = a.Accel
		case d := <-s.done:
			s.finish(d, time.Now())
		case <-s.changes:
		case <-tick.C:
		}
	}
}

// poke says that a machine changed.
func (s *service) poke() {
	select {
	case s.changes <- struct{}{}:
	default:
	}
}

// settle compares what is with what should be.
func (s *service) settle(now time.Time) {
	if s.order != nil && s.state != nil {
		for _, r := range s.order.Run {
			if v, ok := s.state.VMs[r.VM]; ok {
				s.machine(v.Name)
			}
		}
	}
	var living []ident.VM
	for _, name := range slices.Sorted(maps.Keys(s.machines)) {
		m := s.machines[name]
		if m.vm == nil && now.After(m.retryAt) {
			s.open(m)
			m.retryAt = now.Add(openRetry)
		}
		if m.vm != nil {
			h := m.here()
			s.act(m, s.drain.change(Decide(s.cfg.Self, s.state, s.order, name, h), now), now)
			if h.Alive {
				living = append(living, h.VM)
			}
		}
	}
	s.drain.see(living)
	s.cables.see(living)
}
