package raftnode

import (
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
)

// Renewal runs the renewals of package lease for one voter, over the messages
// of the vote channel. It is pure and owned by one caller: Node, or a
// simulation.
type Renewal struct {
	self   ident.Node
	voters []ident.Node
	timing lease.Timing
	grants *lease.Grants
	rounds *lease.Rounds // nil for a voter that nobody needs to vouch for
}

// NewRenewal begins with an empty memory, in a state that knows the voters.
func NewRenewal(self ident.Node, s *cluster.State, t lease.Timing, now clock.Instant) *Renewal {
	r := &Renewal{self: self, voters: s.Voters(), timing: t, grants: lease.NewGrants(now)}
	if s.Nodes[self].Kind == cluster.KindNode {
		r.rounds = lease.NewRounds(self, r.voters, r.grants)
	}
	return r
}

// Asks reports whether this voter is one that asks: a data node.
func (r *Renewal) Asks() bool { return r.rounds != nil }

// Ask begins a round and returns the message for all Others. A data node asks
// every Timing.Renew; another voter never.
func (r *Renewal) Ask(now clock.Instant) []byte { return encodeAsk(r.rounds.Begin(now)) }

// Others lists the voters that are asked.
func (r *Renewal) Others() []ident.Node {
	var ids []ident.Node
	for _, v := range r.voters {
		if v != r.self {
			ids = append(ids, v)
		}
	}
	return ids
}

// IsRenewal tells the messages of a Renewal from those of a Voter.
func IsRenewal(msg []byte) bool {
	return len(msg) > 0 && (msg[0] == tagAsk || msg[0] == tagAnswer)
}

// Receive takes a message, and returns the one to send back, nil for none.
func (r *Renewal) Receive(from ident.Node, msg []byte, now clock.Instant) ([]byte, error) {
	if !IsRenewal(msg) {
		return nil, errRenewal
	}
	number, silences, err := decodeRenewal(msg[1:])
	if err != nil {
		return nil, err
	}
	if msg[0] == tagAnswer {
		if r.rounds != nil {
			r.rounds.Answer(from, number, silences)
		}
		return nil, nil
	}
	said := map[ident.Node]time.Duration{}
	for _, v := range r.Others() {
		said[v] = r.grants.Silence(v, now)
	}
	if !r.grants.Grant(from, now) {
		return nil, nil // this node seeks to take over from that one
	}
	return encodeAnswer(number, said), nil
}

// Vouched returns since when a majority vouches for this node; false: never yet.
func (r *Renewal) Vouched() (clock.Instant, bool) {
	if r.rounds == nil {
		return 0, false
	}
	return r.rounds.Vouched()
}

// Answered returns when the newest renewal that a voter answered was sent; it
// is what lease.ReadUntil asks for.
func (r *Renewal) Answered(by ident.Node) (clock.Instant, bool) {
	if r.rounds == nil {
		return 0, false
	}
	return r.rounds.Answered(by)
}

// Silences tells, of each other voter, how long no voter of a majority has
// vouched for it, and how long this node itself has not: the Silence and Quiet
// of lease.View.
func (r *Renewal) Silences(now clock.Instant) (silence, quiet map[ident.Node]time.Duration) {
	silence, quiet = map[ident.Node]time.Duration{}, map[ident.Node]time.Duration{}
	for _, v := range r.Others() {
		quiet[v] = r.grants.Silence(v, now)
		if r.rounds != nil {
			silence[v] = r.rounds.Silence(v, now, r.timing.AddressDrop)
		}
	}
	return silence, quiet
}

// Seek is called before proposing to take over from a primary; when it reports
// true, this node vouches for that one no more until Release (R6).
func (r *Renewal) Seek(primary ident.Node, now clock.Instant) bool {
	return r.grants.Seek(primary, now, r.timing.Grace)
}

// Release is called when what became of the proposal is known.
func (r *Renewal) Release(primary ident.Node) { r.grants.Release(primary) }
