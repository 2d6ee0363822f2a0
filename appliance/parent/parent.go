package parent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/fence"
	"beffroi.dev/pkg/clock"
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
	// DropAddress, if not nil, takes the service address off the node after the
	// citizen service was killed by the fence. It must not block for long.
	DropAddress func() error
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
func (c *Config) list(kind cluster.Kind) []supervise.Service {
	names := services
	if kind == cluster.KindWitness {
		names = []string{"witness"}
	}
	var all []supervise.Service
	for _, name := range names {
		if c.Has(name) {
			all = append(all, supervise.Service{Name: name, Path: c.Binary, Args: []string{name, "--dir", string(c.Dir)}, Limits: supervise.DefaultLimits()})
		}
	}
	return all
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
	s, err := supervise.New(supervise.Config{
		Services: c.list(n.Me().Kind), Notify: c.Dir.Socket("notify"), Logs: c.Dir.Logs(), Beat: func() { told(c.Alive, true) },
	}, clock.System{}, log)
	if err != nil {
		return err
	}
	// The services end first, and the fence watches until then.
	tasks := task.New(context.WithoutCancel(ctx))
	if n.Me().Kind == cluster.KindNode {
		tasks.Go("fence", func(ctx context.Context) error {
			return fence.Watch(ctx, c.Dir, timing, func() { c.endCitizen(s, log) }, func(ok bool) { told(c.Fenced, ok) }, clock.System{}, log)
		})
	}
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(tasks.Context(), cancel) // without its fence a node must not run
	if err := errors.Join(s.Run(stop, ready), tasks.Stop(stopBound)); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return nil
}

// endCitizen executes the fence of the service address.
func (c *Config) endCitizen(s *supervise.Supervisor, log *slog.Logger) {
	s.KillNow(citizen)
	if c.DropAddress == nil {
		return
	}
	if err := c.DropAddress(); err != nil {
		log.Error("the service address cannot be taken off this node", "cause", err)
		told(c.Fenced, false)
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
