package boot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"beffroi.dev/appliance/address"
	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/fence"
	"beffroi.dev/appliance/parent"
	"beffroi.dev/appliance/rights"
	"beffroi.dev/appliance/tap"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/host/cgroup"
	"beffroi.dev/pkg/host/netcfg/serviceaddr"
	"beffroi.dev/pkg/host/supervise"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/task"
)

// hotplugEvery is how often devices that appear are looked for: who plugs one in
// waits that long.
const hotplugEvery = 3 * time.Second

// quiet is how long a new life of init leaves the processors to the services.
const quiet = time.Minute

// keepServices runs the services until the machine is to end. When they cannot be run,
// the console says why, and they are tried again; if that does not help soon, the
// watchdog gets no beats and resets the machine: guests may live that nobody fences.
func (s *system) keepServices(ctx context.Context, c Config, seq *Sequence) {
	s.feeder.watch()
	s.finishFounding()
	for ctx.Err() == nil {
		err := s.services(ctx, c, seq)
		if ctx.Err() != nil {
			if err != nil {
				s.log.Error("services did not end well", "cause", err)
			}
			return
		}
		if err == nil {
			err = errors.New("they ended, and nobody had asked for it")
		}
		s.log.Error("services cannot be run; they are tried again", "cause", err)
		seq.ServicesFailed(err)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
}

// linger executes the fences of init's former life, if that left guests, while this one
// goes through its phases: one that fails would leave them to themselves while the twin
// starts them. Without a configuration that can be read the shortest fence holds.
func (s *system) linger(ctx context.Context) *task.Group {
	tasks := task.New(ctx)
	if _, left := fence.Kept(s.dir); !left {
		return tasks
	}
	timing := lease.Production()
	if n, err := config.Load(s.dir); err == nil {
		if t, err := lease.Profile(n.Profile); err == nil {
			timing = t
		}
	}
	s.feeder.linger(true)
	tasks.Go("fences of the former life", func(ctx context.Context) error {
		return fence.Linger(ctx, fence.Config{
			Dir: s.dir, Timing: timing, KillCitizen: func() {}, DropAddress: serviceaddr.Stale, // the service died with that life
			Beat: func(ok bool) { s.feeder.beat(fences, ok) },
		}, clock.System{}, s.log)
	})
	return tasks
}

// services runs until the machine is to end. It begins where the phases end: when
// init is started again after it was killed, it finds everything mounted.
func (s *system) services(ctx context.Context, c Config, seq *Sequence) error {
	tasks := task.New(context.WithoutCancel(ctx)) // the address is given back after the last service stopped
	drop, err := s.address(tasks)
	if err != nil {
		return errors.Join(err, tasks.Stop(stopBound))
	}
	if err := s.taps(tasks); err != nil {
		return errors.Join(err, tasks.Stop(stopBound))
	}
	tasks.Go("devices that appear", s.watchDevices)
	err = parent.Run(ctx, parent.Config{
		Dir: s.dir, Binary: c.Binary, Has: c.Has,
		Rights:      &rights.Plan{Dir: s.dir, Store: s.node.Store.Path, Groups: cgroup.Root, Devices: "/dev"},
		DropAddress: drop,
		Alive:       func(ok bool) { s.feeder.beat(services, ok) },
		Fenced:      func(ok bool) { s.feeder.beat(fences, ok) },
	}, s.node, func() { seq.SetReady(uptime()) }, s.log)
	return errors.Join(err, tasks.Stop(stopBound))
}

// watchDevices loads the modules of devices that appear.
func (s *system) watchDevices(ctx context.Context) error {
	if s.again { // one may have appeared while there was no init; services come first
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(quiet):
		}
		if err := errors.Join(s.modules.Coldplug("/sys/devices")...); err != nil {
			s.log.Warn("modules of devices", "cause", err)
		}
	}
	s.modules.Hotplug(ctx, "/sys/bus", hotplugEvery, func(device string, err error) { s.log.Info("a device appeared", "device", device, "cause", err) })
	return nil
}

// address begins to hold the service address for the citizen service, when that
// asks, and returns what takes it off the node.
func (s *system) address(tasks *task.Group) (drop func(pid int) error, err error) {
	cfg, err := LoadNetwork(s.dir)
	if err != nil {
		return nil, err
	}
	holder, err := serviceaddr.New(serviceaddr.Config{Lan: cfg.LanLink(), Service: cfg.Service}, s.log)
	if err != nil {
		// A pair may have no service address yet; the citizen service says so when it asks.
		s.log.Warn("no service address", "cause", err)
		return func(int) error { return serviceaddr.Stale() }, nil
	}
	s.holder.Store(holder)
	l, err := listen(rights.Address(s.dir))
	if err != nil {
		return nil, fmt.Errorf("service address: %w", err)
	}
	server := address.NewServer(holder, serviceaddr.Stale)
	tasks.Go("service address", func(ctx context.Context) error { return server.Run(ctx, l) })
	return server.Fence, nil
}

// taps begins to make the taps of guests, when the vm service asks for them.
func (s *system) taps(tasks *task.Group) error {
	l, err := listen(rights.Tap(s.dir))
	if err != nil {
		return fmt.Errorf("taps of guests: %w", err)
	}
	server := tap.NewServer(s.node.Self, control.NewClient(s.dir.Socket("node")), s.net, s.log)
	tasks.Go("taps of guests", func(ctx context.Context) error { return server.Run(ctx, l) })
	return nil
}

// listen makes one of init's own sockets.
func listen(k supervise.Socket) (net.Listener, error) {
	f, err := supervise.Open(k)
	if err != nil {
		return nil, err
	}
	l, err := net.FileListener(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return l, nil
}

// hardened are settings of the kernel without which one user could lead another, or
// root, to a file that is not its own.
var hardened = map[string]string{
	"fs/protected_hardlinks": "1", "fs/protected_symlinks": "1", "fs/protected_regular": "2", "fs/protected_fifos": "2",
	"kernel/dmesg_restrict": "1", "kernel/kptr_restrict": "2", "fs/suid_dumpable": "0",
}

func harden() error {
	var faults []error
	for path, value := range hardened {
		if err := os.WriteFile("/proc/sys/"+path, []byte(value), 0); err != nil {
			faults = append(faults, fmt.Errorf("setting %s: %w", path, err))
		}
	}
	return errors.Join(faults...)
}
