package raftnode

import (
	"context"
	"sync"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/transport"
)

// renewal runs the renewals of package lease for one voter. It stands apart
// from the loop, which may wait for a disk: vouching must not.
type renewal struct {
	self   ident.Node
	voters []ident.Node
	timing lease.Timing
	clock  clock.Clock
	send   transport.ControlSender

	mu     sync.Mutex // guards grants and rounds
	grants *lease.Grants
	rounds *lease.Rounds // nil for a voter that nobody needs to vouch for
}

func newRenewal(self ident.Node, voters []ident.Node, data bool, t lease.Timing, clk clock.Clock, send transport.ControlSender) *renewal {
	r := &renewal{self: self, voters: voters, timing: t, clock: clk, send: send, grants: lease.NewGrants(clk.Now())}
	if data {
		r.rounds = lease.NewRounds(self, voters, r.grants)
	}
	return r
}

// run asks all voters, again and again.
func (r *renewal) run(ctx context.Context) error {
	tick := time.NewTicker(r.timing.Renew)
	defer tick.Stop()
	for {
		r.mu.Lock()
		ask := encodeAsk(r.rounds.Begin(r.clock.Now()))
		r.mu.Unlock()
		for _, v := range r.voters {
			if v != r.self {
				r.send.SendControl(v, ask)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// asked vouches for a node, unless this one seeks to take over from it.
func (r *renewal) asked(from ident.Node, number uint64) {
	r.mu.Lock()
	now := r.clock.Now()
	silences := map[ident.Node]time.Duration{}
	for _, v := range r.voters {
		if v != r.self {
			silences[v] = r.grants.Silence(v, now)
		}
	}
	granted := r.grants.Grant(from, now)
	r.mu.Unlock()
	if granted {
		r.send.SendControl(from, encodeAnswer(number, silences))
	}
}

func (r *renewal) answered(from ident.Node, number uint64, silences map[ident.Node]time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rounds != nil {
		r.rounds.Answer(from, number, silences)
	}
}

// Vouched returns since when a majority vouches for this node; false: never yet.
func (n *Node) Vouched() (clock.Instant, bool) {
	r := n.renewal
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rounds == nil {
		return 0, false
	}
	return r.rounds.Vouched()
}

// Answered returns when the newest renewal that a voter answered was sent; it
// is what lease.ReadUntil asks for.
func (n *Node) Answered(by ident.Node) (clock.Instant, bool) {
	r := n.renewal
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rounds == nil {
		return 0, false
	}
	return r.rounds.Answered(by)
}

// Silences tells, of each other voter, how long no voter of a majority has
// vouched for it, and how long this node itself has not: the Silence and Quiet
// of lease.View.
func (n *Node) Silences() (silence, quiet map[ident.Node]time.Duration) {
	r := n.renewal
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	silence, quiet = map[ident.Node]time.Duration{}, map[ident.Node]time.Duration{}
	for _, v := range r.voters {
		if v == r.self {
			continue
		}
		quiet[v] = r.grants.Silence(v, now)
		if r.rounds != nil {
			silence[v] = r.rounds.Silence(v, now, r.timing.AddressDrop)
		}
	}
	return silence, quiet
}

// Seek is called before proposing to take over from a primary; when it reports
// true, this node vouches for that one no more until Release (R6).
func (n *Node) Seek(primary ident.Node) bool {
	r := n.renewal
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.grants.Seek(primary, r.clock.Now(), r.timing.Grace)
}

// Release is called when what became of the proposal is known.
func (n *Node) Release(primary ident.Node) {
	r := n.renewal
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants.Release(primary)
}
