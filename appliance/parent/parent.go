package parent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/fence"
	"beffroi.dev/appliance/rights"
	"beffroi.dev/appliance/socket"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/host/supervise"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/task"
)

// citizen is the service that holds the address.
const citizen = "citizen"

// stopBound is how long the fence may take to end.
const stopBound = 5 * time.Second

// services in the order of their start; the last stops first, so that citizens
// and guests are let go before what they stand on.
var services = []string{"node", "block", "vm", citizen, "console"}

// Config says what is started.
type Config struct {
	Dir    config.Dir // absolute
	Binary string     // of all services
	// Has lists the services that the binary knows; others are not started.
	Has func(service string) bool
	// Alive and Fenced, if not nil, are called many times a second: by the loop
	// that keeps the services, and by the one that executes the fence, which says
	// false when something that must be dead is not. A watchdog hangs on them.
	Alive, Fenced func(ok bool)
	// DropAddress, if not nil, takes the service address off the node: after the
	// citizen service, process pid, was killed by the fence, or has stopped for good.
	// It must not block for long.
	DropAddress func(pid int) error
	// Rights, if not nil, gives each service a user and bounds of its own.
	Rights *rights.Plan
}

// Validate reports all faults.
func (c *Config) Validate() error {
	var faults []error
	if !filepath.IsAbs(string(c.Dir)) {
		faults = append(faults, fmt.Errorf("state folder %q: want an absolute path", c.Dir))
	}
	if c.Binary == "" || c.Has == nil {
		faults = append(faults, errors.New("no program for the services"))
	}
	return errors.Join(faults...)
}

// list makes the services of a node or of a witness.
func (c *Config) list(n *config.Node) []supervise.Service {
	names := services
	if n.Me().Kind == cluster.KindWitness {
		names = []string{"witness"}
	}
	var all []supervise.Service
	for _, name := range names {
		if !c.Has(name) {
			continue
		}
		s := supervise.Service{Name: name, Path: c.Binary, Args: []string{name, "--dir", string(c.Dir)}, Limits: supervise.DefaultLimits()}
		s.Sockets = c.sockets(name, n)
		if c.Rights != nil {
			c.Rights.Grant(&s)
		}
		all = append(all, s)
	}
	return all
}

// sockets are those that outlive a service's lives, so that nobody is refused while
// it is started again.
func (c *Config) sockets(service string, n *config.Node) []supervise.Socket {
	var list []supervise.Socket
	add := func(name, address string, quiet bool) {
		if address != "" {
			// On an appliance an address may come later, as the lan's by DHCP does.
			list = append(list, supervise.Socket{Name: name, Network: "tcp", Address: address, Quiet: quiet, Free: c.Rights != nil})
		}
	}
	switch service {
	case citizen:
		add(socket.CitizenOwn, n.Citizen.Listen, false)
		add(socket.CitizenService, n.Citizen.Service, true)
	case "console":
		add(socket.Console, n.Console.Listen, false)
	}
	return list
}

// Run plays init until ctx ends, and returns when all services have stopped.
// ready is called when all services have become ready.
func Run(ctx context.Context, c Config, n *config.Node, ready func(), log *slog.Logger) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("init configuration: %w", err)
	}
	timing, err := lease.Profile(n.Profile)
	if err != nil {
		return err
	}
	lock, err := takeFolder(c.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	k := &keeper{cfg: &c, log: log}
	sc := supervise.Config{
		Services: c.list(n), Notify: c.Dir.Socket("notify"), Logs: c.Dir.Logs(), Beat: func() { told(c.Alive, true) }, Changed: k.changed,
	}
	var voucher *account.ID
	if c.Rights != nil {
		if err := c.Rights.Prepare(); err != nil {
			log.Error("the services' rights are not as they should be", "cause", err)
		}
		node := rights.Voucher
		sc.Restrict, sc.Speakers, voucher = true, int(rights.Speakers), &node
	}
	for i := range sc.Services {
		if sc.Services[i].Name == citizen {
			sc.Services[i].After = func() {
				if err := k.dropAddress(k.citizen.Load()); err != nil {
					log.Error("the service address cannot be taken off this node", "cause", err)
				}
			}
		}
	}
	s, err := supervise.New(sc, clock.System{}, log)
	if err != nil {
		return err
	}
	// The services end first, and the fence watches until then.
	tasks := task.New(context.WithoutCancel(ctx))
	if n.Me().Kind == cluster.KindNode {
		tasks.Go("fence", func(ctx context.Context) error {
			return fence.Watch(ctx, fence.Config{
				Dir: c.Dir, Timing: timing, Beat: func(ok bool) { told(c.Fenced, ok) },
				KillCitizen: func() { k.fenced.Store(k.citizen.Load()); s.KillNow(citizen) },
				DropAddress: func() error { return k.dropAddress(k.fenced.Load()) },
			}, voucher, clock.System{}, log)
		})
	}
	tasks.Go("members", func(ctx context.Context) error { return k.follow(ctx, n, s.Restart) })
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(tasks.Context(), cancel) // without its fence a node must not run
	if err := errors.Join(s.Run(stop, ready), tasks.Stop(stopBound)); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return nil
}

// keeper follows what the services do.
type keeper struct {
	cfg     *Config
	log     *slog.Logger
	citizen atomic.Int64 // the last process of that service
	fenced  atomic.Int64 // the one that was killed by the fence
}

// dropAddress takes the service address off the node, that process pid has held.
func (k *keeper) dropAddress(pid int64) error {
	if k.cfg.DropAddress == nil {
		return nil
	}
	return k.cfg.DropAddress(int(pid))
}

// changed keeps what the services do where the node service and the serial console
// read it. A run folder that is full loses it, and nothing else.
func (k *keeper) changed(all []supervise.Status) {
	list := make([]status.Service, len(all))
	for i, s := range all {
		list[i] = status.Service{Name: s.Name, State: string(s.State), PID: s.PID, Failures: s.Failures, Said: s.Said, Last: s.Last}
		if s.Name == citizen && s.PID != 0 {
			k.citizen.Store(int64(s.PID))
		}
	}
	if err := status.SaveServices(k.cfg.Dir.Services(), list); err != nil {
		k.log.Warn("what the services do is not kept", "cause", err)
	}
}

func told(f func(bool), ok bool) {
	if f != nil {
		f(ok)
	}
}

// takeFolder makes the run folder and keeps a second parent away.
func takeFolder(d config.Dir) (*os.File, error) {
	if err := os.MkdirAll(d.Run(), 0o700); err != nil {
		return nil, fmt.Errorf("make run folder: %w", err)
	}
	// Opened so that no service inherits it: a lock lives as long as its last holder.
	f, err := os.OpenFile(filepath.Join(d.Run(), "init.lock"), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock run folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock run folder: another init works in %s: %w", d, err), f.Close())
	}
	return f, nil
}
