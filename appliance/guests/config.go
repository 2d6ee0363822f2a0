package guests

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// Control is what the service asks of the node service.
type Control interface {
	Watch(ctx context.Context, after uint64) (*cluster.State, error)
	Order(ctx context.Context, after uint64) (control.Order, error)
	Propose(ctx context.Context, do cluster.Action) (cluster.Result, error)
	Report(ctx context.Context, name string, part any) error
	Status(ctx context.Context) (status.Node, error)
}

// Taps is who makes the guests' ends of the town's network: init, on an appliance.
type Taps interface {
	List(ctx context.Context) ([]ident.VM, error)
	Plug(ctx context.Context, id ident.VM) ([]string, error)
	Unplug(ctx context.Context, id ident.VM) error
}

// Config says where the service works and how long things may take. The zero
// value of a bound means its default.
type Config struct {
	Dir  config.Dir // of the node, absolute
	Self ident.Node
	QEMU config.Guests

	// Apart gives each VM's QEMU a user of its own; see pkg/host/account. It needs
	// the right to start processes as others.
	Apart        bool
	Taps         Taps          // nil: guests have no network, as in process mode
	Listener     net.Listener  // for the socket "vm"; nil: the service makes it
	ShutdownWait time.Duration // for a guest to obey its power button; 90 s
	OrderGrace   time.Duration // for an order to come for a guest that the vote lets run here; 5 s
	RestartWait  time.Duration // before a guest that ended is placed anew, doubled each time; 1 s
}

// maxRestartWait bounds the doubling of Config.RestartWait: each attempt is an
// entry in the pair's history.
const maxRestartWait = 5 * time.Minute

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&c.ShutdownWait, 90*time.Second)
	set(&c.OrderGrace, 5*time.Second)
	set(&c.RestartWait, time.Second)
	return c
}

// Validate reports every fault.
func (c Config) Validate() error {
	var errs []error
	if !filepath.IsAbs(string(c.Dir)) {
		errs = append(errs, fmt.Errorf("state folder %q: use an absolute path: QEMU gets it", c.Dir))
	}
	if c.Self == 0 {
		errs = append(errs, errors.New("no node identity"))
	}
	if c.ShutdownWait < 0 || c.OrderGrace < 0 || c.RestartWait < 0 {
		errs = append(errs, errors.New("bounds: must not be negative"))
	}
	return errors.Join(errs...)
}
