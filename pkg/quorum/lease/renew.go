package lease

import (
	"maps"
	"slices"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
)

// Grants is one voter's memory of whom it vouched for. A voter that was just
// born vouched for everybody then, for all it knows.
type Grants struct {
	born     clock.Instant
	last     map[ident.Node]clock.Instant
	withheld map[ident.Node]bool
}

// NewGrants begins with an empty memory.
func NewGrants(now clock.Instant) *Grants {
	return &Grants{born: now, last: map[ident.Node]clock.Instant{}, withheld: map[ident.Node]bool{}}
}

// Grant vouches for n, and reports whether it may be answered.
func (g *Grants) Grant(n ident.Node, now clock.Instant) bool {
	if g.withheld[n] {
		return false
	}
	g.last[n] = now
	return true
}

// Seek is called before this node proposes to take over from a primary. It
// succeeds if the primary was not vouched for during the grace, so that its
// reads are over (R6), and from then on refuses to vouch for it until Release.
func (g *Grants) Seek(primary ident.Node, now clock.Instant, grace time.Duration) bool {
	if !g.withheld[primary] && g.Silence(primary, now) < grace {
		return false
	}
	g.withheld[primary] = true
	return true
}

// Release is called when what became of the proposal is known.
func (g *Grants) Release(primary ident.Node) { delete(g.withheld, primary) }

// Silence is how long this voter has not vouched for n.
func (g *Grants) Silence(n ident.Node, now clock.Instant) time.Duration {
	if last, ok := g.last[n]; ok {
		return now.Sub(last)
	}
	return now.Sub(g.born)
}

// maxRounds bounds the rounds that may still be answered: an answer that is
// later than this many renewals would be of little use.
const maxRounds = 16

// Rounds is a data node's side: it asks, and sums up the answers.
type Rounds struct {
	self    ident.Node
	voters  []ident.Node
	own     *Grants // this node is a voter too
	number  uint64
	rounds  []round // oldest first
	vouched clock.Instant
	ever    bool
	heard   map[ident.Node]clock.Instant // when the newest round that each answered was sent
	silence map[ident.Node]time.Duration // by the newest round with a majority
	asOf    clock.Instant                // when that round was sent
}

type round struct {
	number  uint64
	sent    clock.Instant
	from    []ident.Node
	silence map[ident.Node]time.Duration // the least that anyone said
}

// NewRounds begins unvouched. The own grants are this node's as a voter.
func NewRounds(self ident.Node, voters []ident.Node, own *Grants) *Rounds {
	return &Rounds{self: self, voters: slices.Clone(voters), own: own, heard: map[ident.Node]clock.Instant{}}
}

// Begin starts a round and returns the number to ask with. This node's own
// answer is counted at once.
func (r *Rounds) Begin(now clock.Instant) uint64 {
	r.number++
	if len(r.rounds) == maxRounds {
		r.rounds = r.rounds[1:]
	}
	r.rounds = append(r.rounds, round{number: r.number, sent: now})
	silences := map[ident.Node]time.Duration{}
	for _, v := range r.voters {
		if v != r.self {
			silences[v] = r.own.Silence(v, now)
		}
	}
	r.own.Grant(r.self, now)
	r.Answer(r.self, r.number, silences)
	return r.number
}

// Answer takes a voter's answer: how long it has not vouched for each of the
// others. A node that it does not mention counts as just heard.
func (r *Rounds) Answer(from ident.Node, number uint64, silences map[ident.Node]time.Duration) {
	i := slices.IndexFunc(r.rounds, func(x round) bool { return x.number == number })
	if i < 0 || !slices.Contains(r.voters, from) || slices.Contains(r.rounds[i].from, from) {
		return
	}
	x := &r.rounds[i]
	x.from = append(x.from, from)
	if last, ok := r.heard[from]; !ok || x.sent > last {
		r.heard[from] = x.sent
	}
	least := map[ident.Node]time.Duration{}
	for _, v := range r.voters {
		if v == from {
			continue // it lives, and vouches for itself: silence zero
		}
		if d := silences[v]; x.silence == nil || d < x.silence[v] {
			least[v] = d
		} else {
			least[v] = x.silence[v]
		}
	}
	x.silence = least
	if len(x.from) > len(r.voters)/2 && (!r.ever || x.sent >= r.asOf) {
		r.ever, r.asOf, r.silence = true, x.sent, maps.Clone(least)
		r.vouched = max(r.vouched, x.sent)
	}
}

// Answered returns when the newest round that n answered was sent.
func (r *Rounds) Answered(n ident.Node) (clock.Instant, bool) {
	sent, ok := r.heard[n]
	return sent, ok
}

// Vouched returns since when a majority vouches for this node; false: never yet.
func (r *Rounds) Vouched() (clock.Instant, bool) { return r.vouched, r.ever }

// Silence is how long no voter of a majority has vouched for n, or how long it
// was when a majority last told. It is zero while this node has not heard a majority within bound.
func (r *Rounds) Silence(n ident.Node, now clock.Instant, bound time.Duration) time.Duration {
	if !r.ever || now.Sub(r.asOf) > bound {
		return 0
	}
	return r.silence[n]
}
