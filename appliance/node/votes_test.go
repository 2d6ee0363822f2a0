package node

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/task"
)

// fakeVote decides a proposal when it is told to.
type fakeVote struct {
	state *cluster.State
	seek  bool

	mu       sync.Mutex // guards all below
	proposed int
	withheld bool
	decide   chan error
}

func (f *fakeVote) State() *cluster.State { return f.state }
func (f *fakeVote) Watch(context.Context, uint64) (*cluster.State, error) {
	return f.state, nil
}

func (f *fakeVote) Propose(ctx context.Context, _ cluster.Action) (cluster.Result, error) {
	f.mu.Lock()
	f.proposed++
	f.mu.Unlock()
	select {
	case err := <-f.decide:
		return cluster.Result{Epoch: 2}, err
	case <-ctx.Done():
		return cluster.Result{}, ctx.Err()
	}
}

func (f *fakeVote) Seek(ident.Node) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.withheld = f.withheld || f.seek
	return f.withheld
}

func (f *fakeVote) Release(ident.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.withheld = false
}

func (f *fakeVote) seen() (int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.proposed, f.withheld
}

func newVotes(t *testing.T, f *fakeVote) *votes {
	f.state, f.decide = townState(t), make(chan error)
	limit := lease.NewFence(lease.Lab())
	limit.Renew(clock.System{}.Now())
	v := &votes{
		voter: f, self: nodeB, clock: clock.System{}, own: &guarded{claims: newClaims(limit, clock.System{}.Now())}, tasks: task.New(t.Context()),
		open: map[promoted]*promotion{}, seeks: map[ident.Node]int{},
	}
	t.Cleanup(func() { _ = v.tasks.Stop(time.Second) })
	return v
}

func promote(group ident.Group) *cluster.Reconfigure {
	return &cluster.Reconfigure{Group: group, Base: 1, Kind: cluster.Promote, By: nodeB, New: cluster.Config{Primary: nodeB, InSync: []ident.Node{nodeB}}}
}

func TestAPromotionWaitsForTheGrace(t *testing.T) {
	f := &fakeVote{}
	v := newVotes(t, f)
	if _, err := v.Propose(t.Context(), promote(1)); !errors.Is(err, errHeard) || errors.Is(err, cluster.ErrRefused) {
		t.Errorf("Propose = %v; want an answer that invites another try", err)
	}
	if n, withheld := f.seen(); n != 0 || withheld {
		t.Errorf("%d proposed, withheld %v; want neither", n, withheld)
	}
}

func TestAnUndecidedPromotionKeepsItsSilenceUntilItIsDecided(t *testing.T) {
	for name, outcome := range map[string]error{"chosen": nil, "refused": cluster.ErrRefused} {
		t.Run(name, func(t *testing.T) {
			f := &fakeVote{seek: true}
			v := newVotes(t, f)
			for range 3 { // its proposer loses patience, and asks again
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				_, err := v.Propose(ctx, promote(1))
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("Propose = %v; want undecided", err)
				}
			}
			if n, withheld := f.seen(); n != 1 || !withheld {
				t.Fatalf("%d proposed, withheld %v; want one, and silence kept", n, withheld)
			}
			answer := make(chan error, 2)
			for _, g := range []ident.Group{1, 2} { // the first joins, the second is another one
				go func() { _, err := v.Propose(t.Context(), promote(g)); answer <- err }()
			}
			for n, _ := f.seen(); n != 2; n, _ = f.seen() {
				time.Sleep(time.Millisecond)
			}
			f.decide <- outcome
			if err := <-answer; !errors.Is(err, outcome) {
				t.Errorf("first outcome %v; want %v", err, outcome)
			}
			if _, withheld := f.seen(); !withheld {
				t.Error("the silence ended while another promotion is undecided")
			}
			f.decide <- outcome
			<-answer
			for _, withheld := f.seen(); withheld; _, withheld = f.seen() {
				time.Sleep(time.Millisecond)
			}
		})
	}
}

func TestPromotionsThatCannotBeMeant(t *testing.T) {
	v := newVotes(t, &fakeVote{seek: true})
	batch := &cluster.Batch{Changes: []cluster.Reconfigure{*promote(1)}}
	other := promote(1)
	other.By = nodeA
	for _, do := range []cluster.Action{batch, other} {
		if _, err := v.Propose(t.Context(), do); !errors.Is(err, cluster.ErrRefused) {
			t.Errorf("Propose(%+v) = %v; want a refusal", do, err)
		}
	}
	ahead := promote(1)
	ahead.Base = 9
	if _, err := v.Propose(t.Context(), ahead); err == nil || errors.Is(err, cluster.ErrRefused) {
		t.Errorf("an epoch from the future: %v; want another try", err)
	}
}

func TestAPlacementThatAnyServiceProposedHereIsRemembered(t *testing.T) {
	f := &fakeVote{}
	v := newVotes(t, f)
	go func() { f.decide <- nil; f.decide <- nil }()
	for _, to := range []ident.Node{nodeB, nodeA} {
		if _, err := v.Propose(t.Context(), &cluster.PlaceVM{VM: ident.VM(to), Base: 4, Node: to}); err != nil {
			t.Fatal(err)
		}
	}
	v.own.do(func(c *claims) {
		if c.held[ident.VM(nodeB)] != 5 || c.held[ident.VM(nodeA)] != 0 {
			t.Errorf("held %v; want generation 5 of what was placed here alone", c.held)
		}
	})
}
