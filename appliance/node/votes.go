package node

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/task"
)

// errHeard answers a promotion whose time has not come.
var errHeard = errors.New("promote: this voter heard the old primary within the grace, try again")

// voter is what is needed of raftnode.Node.
type voter interface {
	State() *cluster.State
	Watch(ctx context.Context, after uint64) (*cluster.State, error)
	Propose(ctx context.Context, do cluster.Action) (cluster.Result, error)
	Seek(primary ident.Node) bool
	Release(primary ident.Node)
}

// promotion is one that is undecided.
type promotion struct {
	done   chan struct{}
	result cluster.Result // valid once done is closed
	err    error
}

type promoted struct {
	group ident.Group
	base  ident.Epoch
}

// votes is the way of all proposals of this node to the vote.
type votes struct {
	voter
	self  ident.Node
	clock clock.Clock
	tasks *task.Group
	own   *guarded // told of the placements that this node obtains

	mu    sync.Mutex // guards all below
	open  map[promoted]*promotion
	seeks map[ident.Node]int // undecided promotions, by old primary
}

// Propose implements control.Votes.
func (v *votes) Propose(ctx context.Context, do cluster.Action) (cluster.Result, error) {
	switch a := do.(type) {
	case *cluster.Reconfigure:
		if a.Kind == cluster.Promote {
			return v.promote(ctx, a)
		}
	case *cluster.Batch:
		for _, c := range a.Changes {
			if c.Kind == cluster.Promote {
				return cluster.Result{}, fmt.Errorf("%w: a promotion is proposed by itself, not in a batch", cluster.ErrRefused)
			}
		}
	case *cluster.PlaceVM:
		if a.Node == v.self {
			return v.place(ctx, a)
		}
	}
	return v.voter.Propose(ctx, do)
}

// place remembers what it obtains, unless a fence passed in between.
func (v *votes) place(ctx context.Context, a *cluster.PlaceVM) (cluster.Result, error) {
	since := v.own.fencesNow(v.clock.Now())
	r, err := v.voter.Propose(ctx, a)
	if err == nil {
		v.own.obtained(v.clock.Now(), a.VM, a.Base+1, since)
	}
	return r, err
}

// promote proposes with the guard of R6. The proposal outlives its asker: this
// voter vouches for the old primary again only when the outcome is known.
func (v *votes) promote(ctx context.Context, a *cluster.Reconfigure) (cluster.Result, error) {
	g := v.State().Groups[a.Group]
	old := g.Config.Primary
	switch {
	case a.By != v.self:
		return cluster.Result{}, fmt.Errorf("%w: promote: by %v, this node is %v", cluster.ErrRefused, a.By, v.self)
	case a.Base > g.Config.Epoch:
		return cluster.Result{}, fmt.Errorf("promote: epoch %d is not known here yet, try again", a.Base)
	case a.Base < g.Config.Epoch || old == v.self:
		return v.voter.Propose(ctx, a) // the rules refuse it, with their reason
	}
	p, err := v.seek(a, old)
	if err != nil {
		return cluster.Result{}, err
	}
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
		return cluster.Result{}, fmt.Errorf("promotion undecided: %w", ctx.Err())
	}
}

// seek begins a promotion, or joins the one that is open.
func (v *votes) seek(a *cluster.Reconfigure, old ident.Node) (*promotion, error) {
	key := promoted{a.Group, a.Base}
	v.mu.Lock()
	defer v.mu.Unlock()
	if p := v.open[key]; p != nil {
		return p, nil
	}
	if !v.Seek(old) {
		return nil, errHeard
	}
	p := &promotion{done: make(chan struct{}), err: errors.New("promotion undecided: stopping")}
	v.open[key] = p
	v.seeks[old]++
	v.tasks.Go("promote", func(ctx context.Context) error {
		defer close(p.done)
		if p.result, p.err = v.voter.Propose(ctx, a); p.err != nil && !errors.Is(p.err, cluster.ErrRefused) {
			return nil // stopping: it stays unknown, and the silence stays kept
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.open, key)
		if v.seeks[old]--; v.seeks[old] == 0 {
			v.Release(old)
		}
		return nil
	})
	return p, nil
}

// guarded is claims for several goroutines.
type guarded struct {
	mu     sync.Mutex // guards claims
	claims *claims
}

func (g *guarded) fencesNow(now clock.Instant) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.claims.look(now)
	return g.claims.fences
}

func (g *guarded) obtained(now clock.Instant, id ident.VM, generation, since uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.claims.obtained(now, id, generation, since)
}

// do runs f with the claims.
func (g *guarded) do(f func(*claims)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(g.claims)
}
