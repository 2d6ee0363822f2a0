package town

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"beffroi.dev/pkg/citizen/service"
	"beffroi.dev/pkg/ident"
)

// tenure is the time in which one opening of the citizens' volume may be used: while
// this node leads it without a break. What the database keeps in its memory is true for
// no longer.
type tenure struct {
	since ident.Epoch
	svc   *service.Service
	over  atomic.Bool // another node has led meanwhile
	waits atomic.Bool // this node may not answer for the moment: citizens are held
}

// How often it is looked whether this node must let go, and, while citizens wait,
// whether it may answer again; and how long one such look may take.
const (
	lookEvery = 250 * time.Millisecond
	waitLook  = 20 * time.Millisecond
	lookBound = 200 * time.Millisecond
)

// begin asks in which reign this node leads the group.
func (t *Town) begin(ctx context.Context, id ident.Group) (*tenure, error) {
	bound, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	g, err := t.localGroup(bound, id)
	if err != nil {
		return nil, err
	}
	if g.Since == 0 {
		return nil, errors.New("this node does not lead the citizens' volume yet")
	}
	return &tenure{since: g.Since}, nil
}

// role is what this node may promise at this moment. It notes in the tenure what follows
// from that.
func (t *Town) role(ctx context.Context, n *tenure) service.Role {
	now := t.ask(ctx, n)
	if n.waits.Swap(!now.Serving) == now.Serving {
		nudge(t.kick) // stay asks again until it may answer
	}
	return now
}

func (t *Town) ask(ctx context.Context, n *tenure) service.Role {
	t.mu.Lock()
	address, st := t.order.Address, t.state
	t.mu.Unlock()
	if st == nil || !address {
		return service.Role{Reason: "this node does not hold the service address"}
	}
	g, err := t.localGroup(ctx, st.Service.Group)
	switch {
	case err != nil:
		return service.Role{Reason: err.Error()}
	case g.Since != n.since:
		n.over.Store(true)
		return service.Role{Reason: "this node has not led the volume without a break"}
	case !g.Serving || !g.Readable:
		return service.Role{Reason: "the volume is being decided"}
	}
	return service.Role{Serving: true, Copies: g.Copies, Epoch: uint64(g.Epoch)}
}

// stay returns when this node must not serve any more.
func (t *Town) stay(ctx context.Context, n *tenure) error {
	var waiting time.Time // since when; zero while citizens are served
	for ctx.Err() == nil {
		t.mu.Lock()
		wanted := t.order.Address
		t.mu.Unlock()
		switch err := n.svc.Failed(); {
		case !wanted:
			t.log.Info("citizens are not served here any more")
			return nil
		case n.over.Load():
			t.log.Info("another node has led the citizens' volume; it is opened anew")
			return nil
		case err != nil:
			return fmt.Errorf("the citizens' volume failed: %w", err)
		}
		every := lookEvery
		switch {
		case n.waits.Load():
			if every = waitLook; waiting.IsZero() {
				waiting = time.Now()
			}
			bound, cancel := context.WithTimeout(ctx, lookBound)
			t.role(bound, n)
			cancel()
		case !waiting.IsZero():
			t.log.Info("citizens were held while the volume was decided", "for", time.Since(waiting).Round(time.Millisecond))
			waiting = time.Time{}
		}
		select {
		case <-ctx.Done():
		case <-t.kick:
		case <-time.After(every):
		}
	}
	return nil
}
