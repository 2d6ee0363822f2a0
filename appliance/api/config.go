package api

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// Control is what the API asks of the node service.
type Control interface {
	Watch(ctx context.Context, after uint64) (*cluster.State, error)
	Propose(ctx context.Context, do cluster.Action) (cluster.Result, error)
	Status(ctx context.Context) (status.Node, error)
}

// Config says where the node's places are and what the bounds are. The zero value
// of a bound means its default.
type Config struct {
	Dir       config.Dir // of the node
	Self      ident.Node
	QemuImg   string
	MaxUpload int64         // bytes of one image file; 1 TiB, and never more than the folder has room for
	ServeWait time.Duration // for a new group to serve; 60 s
	StopWait  time.Duration // for a VM that is deleted to stop; 10 s
}

func (c Config) withDefaults() Config {
	if c.MaxUpload == 0 {
		c.MaxUpload = 1 << 40
	}
	if c.ServeWait == 0 {
		c.ServeWait = time.Minute
	}
	if c.StopWait == 0 {
		c.StopWait = 10 * time.Second
	}
	return c
}

// Validate reports every fault.
func (c Config) Validate() error {
	var errs []error
	if !filepath.IsAbs(string(c.Dir)) {
		errs = append(errs, fmt.Errorf("state folder %q: use an absolute path", c.Dir))
	}
	if c.Self == 0 {
		errs = append(errs, errors.New("no node identity"))
	}
	if c.MaxUpload < 0 || c.ServeWait < 0 || c.StopWait < 0 {
		errs = append(errs, errors.New("bounds: must not be negative"))
	}
	return errors.Join(errs...)
}
