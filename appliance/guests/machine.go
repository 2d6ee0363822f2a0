package guests

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/guest/vm"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// settled is how long a guest runs before its earlier failures are forgotten.
const settled = time.Minute

// Waits before a guest that its disk stopped is tried again, doubled each time.
const (
	minContinueWait = time.Second
	maxContinueWait = 30 * time.Second
)

// machine is a VM as the service knows it.
type machine struct {
	name   string
	folder string
	vm     *vm.VM // nil when its folder cannot be used
	record record
	fault  string // why it cannot be opened or started

	busy    Action // under way; empty: nothing
	killing bool   // a kill is under way, beside what it overtook

	withdrawn  time.Time // since when no order covers it; zero: one does
	fails      int       // ends in a row
	retryAt    time.Time
	continueAt time.Time
	waits      time.Duration // before the next Continue
}

// done is the end of an action.
type done struct {
	m      *machine
	action Action
	err    error
}

// open takes charge of a machine's folder, and of its QEMU if that lives.
func (s *service) open(m *machine) {
	r, _, err := loadRecord(m.folder)
	if err != nil {
		s.log.Warn("placement is not known", "vm", m.name, "cause", err)
	}
	m.record = r
	m.vm, err = vm.Open(vm.Config{
		Name: m.name, Dir: m.folder, Binary: s.cfg.QEMU.QEMU, UEFICode: s.cfg.QEMU.UEFICode, UEFIVars: s.cfg.QEMU.UEFIVars,
		ShutdownWait: s.cfg.ShutdownWait, Cgroups: s.groups, Apart: s.cfg.Apart,
	}, s.log)
	if err != nil {
		m.vm = nil
		if m.fault != err.Error() {
			s.log.Warn("guest cannot be taken charge of", "vm", m.name, "cause", err)
		}
		m.fault = err.Error()
		return
	}
	m.fault, m.retryAt = "", time.Time{}
	s.lines.put(m.name, m.vm)
	machine := m.vm
	s.tasks.Go("machine "+m.name, func(ctx context.Context) error {
		for s.lines.has(m.name, machine) {
			_, changed := machine.Status()
			s.poke()
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
}

func alive(s vm.State) bool { return s != vm.Stopped && s != vm.Failed }

func (m *machine) here() Here {
	st, _ := m.vm.Status()
	return Here{VM: m.record.VM, Alive: alive(st.State), Generation: m.record.Generation}
}

// act begins what is to be done, unless it is under way.
func (s *service) act(m *machine, a Action, now time.Time) {
	if a != Withdraw {
		m.withdrawn = time.Time{}
	}
	switch a {
	case Withdraw:
		if m.withdrawn.IsZero() {
			m.withdrawn = now
			s.log.Info("no order covers this guest", "vm", m.name, "generation", m.record.Generation)
		}
		if now.Sub(m.withdrawn) >= s.cfg.OrderGrace {
			s.kill(m, "no order covers it")
		}
		return
	case Kill:
		s.kill(m, "it is placed elsewhere, or deleted, or the node goes down")
		return
	case Leave:
		return
	}
	if m.busy != "" || m.killing {
		return
	}
	switch a {
	case Keep:
		s.keep(m, now)
	case Start:
		s.start(m)
	case Place:
		s.place(m, now)
	case ShutDown:
		s.begin(m, ShutDown, func(ctx context.Context) error {
			err := m.vm.ShutDown(ctx)
			if err != nil && ctx.Err() == nil && !errors.Is(err, vm.ErrOvertaken) {
				s.log.Info("guest is switched off by force", "vm", m.name, "cause", err)
				err = m.vm.ForceOff(ctx)
			}
			return err
		})
	case Forget:
		s.forget(m)
	}
}

// begin runs an action beside the loop.
func (s *service) begin(m *machine, a Action, do func(ctx context.Context) error) {
	m.busy = a
	s.tasks.Go(string(a)+" "+m.name, func(ctx context.Context) error {
		err := do(ctx)
		select {
		case s.done <- done{m, a, err}:
		case <-ctx.Done():
		}
		return nil
	})
}

// finish follows the end of an action.
func (s *service) finish(d done, now time.Time) {
	if d.action == Kill {
		d.m.killing = false
	} else {
		d.m.busy = ""
	}
	if d.err != nil {
		s.log.Warn("guest: not done", "vm", d.m.name, "action", d.action, "cause", d.err)
	}
	if d.action == Start {
		d.m.fault = ""
		if st, _ := d.m.vm.Status(); d.err != nil && st.State == vm.Stopped {
			d.m.fault = d.err.Error() // it did not come as far as QEMU
		}
		d.m.waits, d.m.continueAt = 0, now
	}
}

// kill overtakes whatever is under way.
func (s *service) kill(m *machine, cause string) {
	if m.killing {
		return
	}
	busy := m.busy
	s.log.Info("guest is killed", "vm", m.name, "generation", m.record.Generation, "cause", cause)
	s.begin(m, Kill, m.vm.ForceOff)
	m.busy, m.killing = busy, true
}

// keep lets a guest run, and continues one that its disk has stopped.
func (s *service) keep(m *machine, now time.Time) {
	st, _ := m.vm.Status()
	if st.State == vm.Running && now.Sub(st.Since) > settled {
		m.fails, m.waits = 0, 0
	}
	if st.State != vm.PausedIO || now.Before(m.continueAt) {
		return
	}
	m.waits = min(max(2*m.waits, minContinueWait), maxContinueWait)
	m.continueAt = now.Add(m.waits)
	group := s.state.VMs[m.record.VM].Group
	s.begin(m, Keep, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, askBound)
		defer cancel()
		if !s.serves(ctx, group) {
			return nil
		}
		return m.vm.Continue(ctx)
	})
}

// serves tells whether a group answers as far as this node knows. It leads it
// itself, or the one that does is linked.
func (s *service) serves(ctx context.Context, group ident.Group) bool {
	n, err := s.ctl.Status(ctx)
	if err != nil || n.Store == nil {
		return false
	}
	for _, g := range n.Store.Groups {
		if g.ID == group && g.Primary == s.cfg.Self {
			return g.Serving && g.Readable
		}
	}
	return n.Store.Linked
}

// start uses the ordered generation up, durably, and starts QEMU.
func (s *service) start(m *machine) {
	v, _ := wanted(s.state, m.name)
	if s.accel == "" {
		return
	}
	r := record{VM: v.ID, Generation: v.Generation, Accel: string(s.accel)}
	if err := r.save(m.folder); err != nil {
		m.fault = err.Error()
		s.log.Warn("guest is not started", "vm", m.name, "cause", err)
		return
	}
	m.record, m.fault = r, ""
	spec := s.spec(v)
	s.begin(m, Start, func(ctx context.Context) (err error) {
		defer s.cables.hold(v.ID)()
		if spec.Cards, err = s.cables.plug(ctx, v); err != nil {
			return err
		}
		if !s.cfg.Apart {
			return m.vm.Start(ctx, spec)
		}
		u, err := account.OfGuest(uint64(v.ID))
		if err != nil {
			return err
		}
		user := vm.User{ID: uint32(u), Group: uint32(u), Groups: []uint32{uint32(account.Disk), uint32(account.KVM), uint32(account.Tap)}}
		return m.vm.StartAs(ctx, spec, user)
	})
}

// spec is how a VM of the voted state is run here.
func (s *service) spec(v cluster.VM) qemu.Spec {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%v/vm/%d", s.state.Pair, v.ID)))
	spec := qemu.Spec{
		Name: v.Name, UUID: fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]),
		CPUs: v.CPUs, MemoryMB: v.MemoryMB, Firmware: qemu.Firmware(v.Firmware), Accel: s.accel,
	}
	g := s.state.Groups[v.Group]
	for i, vol := range g.Volumes {
		spec.Disks = append(spec.Disks, qemu.Disk{
			Socket: s.cfg.Dir.Socket("nbd"), Export: fmt.Sprintf("%s/%s@%d", g.Name, vol.Name, v.Generation),
			Serial: fmt.Sprintf("volume-%d", vol.ID), BootIndex: i,
		})
	}
	return spec
}

// place asks for a new placement of a machine that has ended, or withdraws the
// wish that it runs when its guest switched itself off.
func (s *service) place(m *machine, now time.Time) {
	if now.Before(m.retryAt) {
		return
	}
	wait := min(s.cfg.RestartWait<<min(m.fails, 20), maxRestartWait)
	m.fails++
	m.retryAt = now.Add(wait)
	st, _ := m.vm.Status()
	cause := st.Cause
	if m.fault != "" {
		cause = m.fault
	}
	var do cluster.Action = &cluster.PlaceVM{VM: m.record.VM, Base: m.record.Generation, Node: s.cfg.Self, Cause: "ended: " + cause}
	if st.State == vm.Stopped && strings.Contains(cause, "guest-shutdown") {
		run := false
		do = &cluster.UpdateVM{VM: m.record.VM, Run: &run}
	}
	s.begin(m, Place, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, askBound)
		defer cancel()
		if _, err := s.ctl.Propose(ctx, do); err != nil && !errors.Is(err, cluster.ErrRefused) {
			return fmt.Errorf("ask for a new placement: %w", err)
		}
		return nil // a refusal means that somebody placed it meanwhile
	})
}

// forget removes a machine whose VM is no more.
func (s *service) forget(m *machine) {
	s.lines.drop(m.name)
	delete(s.machines, m.name)
	if err := m.vm.Close(); err != nil {
		s.log.Warn("guest not let go of", "vm", m.name, "cause", err)
	}
	if err := os.RemoveAll(m.folder); err != nil {
		s.log.Warn("folder of a deleted guest stays", "vm", m.name, "cause", err)
		return
	}
	s.log.Info("guest forgotten", "vm", m.name, "id", m.record.VM)
}
