package console

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// Control is what the console asks of the node service.
type Control interface {
	Watch(ctx context.Context, after uint64) (*cluster.State, error)
	Propose(ctx context.Context, do cluster.Action) (cluster.Result, error)
	Status(ctx context.Context) (status.Node, error)
}

// Config says where the console is and what its bounds are. The zero value of a
// bound means its default.
type Config struct {
	Dir     config.Dir // of the node
	Self    ident.Node
	Name    string // of the node, for what is shown before it answers
	QemuImg string
	Listen  string        // host:port
	Idle    time.Duration // after which a session ends; 30 min
	Every   time.Duration // between two looks while somebody watches; 1 s
	Rest    time.Duration // between two looks while nobody does; 5 s
}

func (c Config) withDefaults() Config {
	if c.Idle == 0 {
		c.Idle = 30 * time.Minute
	}
	if c.Every == 0 {
		c.Every = time.Second
	}
	if c.Rest == 0 {
		c.Rest = 5 * time.Second
	}
	return c
}

// Validate reports every fault.
func (c Config) Validate() error {
	var faults []error
	if !filepath.IsAbs(string(c.Dir)) {
		faults = append(faults, fmt.Errorf("state folder %q: use an absolute path", c.Dir))
	}
	if c.Self == 0 {
		faults = append(faults, errors.New("no node identity"))
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		faults = append(faults, fmt.Errorf("address %q: use host:port", c.Listen))
	}
	if c.Idle < 0 || c.Every < 0 || c.Rest < 0 {
		faults = append(faults, errors.New("bounds: must not be negative"))
	}
	return errors.Join(faults...)
}
