package main

import (
	"context"
	"fmt"
	"time"

	"beffroi.dev/tools/histories/rig"
)

// counter watches the counter guest over a kill: the numbers it printed were durable
// before.
type counter struct {
	*rig.Guest
	before rig.Sighting
}

// watch notes where the guest runs, and how far it is: the serial line of a virtual
// machine that has lost its power cannot be read any more.
func watch(ctx context.Context, r *rig.Rig, vm string) (*counter, error) {
	c := &counter{Guest: r.Guest(vm)}
	var err error
	if c.before, err = c.See(ctx); err == nil && c.before.Node == "" {
		err = fmt.Errorf("there is no VM %s", vm)
	}
	return c, err
}

// after waits until the guest counts on, wherever it runs now, and holds its
// numbers against what it had printed before the kill. The log of a dead node that is
// a process can still be read: it is a file of the lab.
func (c *counter) after(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	last := max(c.before.Count, c.Printed(ctx, c.before.Node))
	now, err := c.Beyond(ctx, last)
	if err != nil {
		return "", err
	}
	if now.Node == c.before.Node {
		return fmt.Sprintf(", guest stayed on %s at %d", now.Node, now.Count), nil
	}
	return fmt.Sprintf(", guest on %s went on from %d (at %d)", now.Node, last, now.Count), nil
}
