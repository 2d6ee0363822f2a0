package raftnode_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/raftnode"
)

// newcomer takes the place of voter 2.
const newcomer = ident.Node(4)

func replacement(random uint64) []byte {
	c := cluster.Command{ID: cluster.ProposalID{Node: 1, Random: random}, Do: &cluster.ReplaceNode{
		Old: 2, Node: newcomer, PublicKey: slices.Repeat([]byte{4}, 32), Replica: ident.UUID{4},
	}}
	b, err := c.Encode()
	if err != nil {
		panic(err)
	}
	return b
}

// replace proposes until a voter has seen it done.
func (e *env) replace(by ident.Node, random uint64) bool {
	if err := e.voters[by].Propose(replacement(random)); err != nil && !errors.Is(err, raftnode.ErrDropped) {
		e.t.Fatal(err)
	}
	e.settle()
	_, done := e.voters[by].State().Nodes[newcomer]
	return done
}

// join powers the newcomer on: with what its store holds, which is nothing at first.
func (e *env) join() {
	if e.stores[newcomer] == nil {
		e.stores[newcomer] = &raftnode.Memory{}
	}
	r, err := e.stores[newcomer].Restore()
	if err != nil {
		e.t.Fatal(err)
	}
	e.voters[newcomer], err = raftnode.NewVoter(raftnode.VoterConfig{
		Core:  raftnode.CoreConfig{Self: newcomer, ElectionTicks: 10, HeartbeatTicks: 2, Joins: true, Seed: e.seed},
		Until: genesis(), SnapshotEvery: 20}, r)
	if err != nil {
		e.t.Fatal(err)
	}
}

// gone is the lost machine: nobody hears it, because its key is nobody's any more.
func (e *env) gone(lost ident.Node) {
	for _, id := range []ident.Node{1, 3, newcomer} {
		e.link(lost, id, true, false)
	}
}

func (e *env) until(what string, ok func() bool) {
	e.t.Helper()
	for range 400 {
		if ok() {
			return
		}
		e.tick()
	}
	e.t.Fatalf("never: %s\n%s", what, e.status())
}

func TestANewcomerIsHandedAllAndCarriesTheVoteWithEitherOther(t *testing.T) {
	e := newEnv(t, 1)
	e.ids = []ident.Node{1, 2, 3, newcomer}
	e.until("a leader", func() bool { return e.leader() != 0 })
	for i := range uint64(5) { // fewer than a snapshot's worth
		_ = e.propose(1, i)
	}
	e.voters[2] = nil
	e.gone(2)
	e.until("the replacement is voted", func() bool { return e.leader() != 0 && e.replace(1, 100) })
	before := e.voters[1].State().Next.Event
	e.join()
	if err := e.voters[newcomer].Campaign(); err != nil { // it is a member of nothing that it knows
		t.Fatal(err)
	}
	e.settle()
	if st := e.voters[newcomer].Standing(); st.Role != raftnode.Follower || st.Term > e.voters[1].Standing().Term {
		t.Errorf("an empty log stands for election: %+v", st)
	}
	e.until("the newcomer knows all", func() bool { return e.voters[newcomer].State().Next.Event == before })
	for _, lost := range []ident.Node{1, 3} {
		e.voters[lost] = nil
		other := ident.Node(4 - lost)
		want := e.voters[other].State().Next.Event + 1
		e.until(fmt.Sprintf("without %d it goes on", lost), func() bool {
			if e.leader() != 0 && e.leader() != lost {
				_ = e.propose(other, uint64(200+lost))
			}
			return e.voters[newcomer].State().Next.Event == want
		})
		e.start(lost)
		e.until("it is back", func() bool { return e.voters[lost].State().Next.Event == want })
	}
	if got := e.voters[newcomer].State().Voters(); !slices.Equal(got, []ident.Node{1, 3, newcomer}) {
		t.Errorf("voters %v", got)
	}
}

func TestTheLostVoterCountsForNothing(t *testing.T) {
	e := newEnv(t, 2)
	e.ids = []ident.Node{1, 2, 3, newcomer}
	e.until("a leader", func() bool { return e.leader() != 0 })
	e.link(2, 1, true, false)
	e.link(2, 3, true, false)
	e.until("the replacement is voted", func() bool { return e.leader() == 1 && e.replace(1, 100) || e.leader() == 3 && e.replace(3, 100) })
	for range 30 { // the change ends, and 1 and 3 know
		e.tick()
	}
	// Now 1 is alone with the lost voter, which hears and answers as if nothing had been:
	// together they are no majority any more.
	e.voters[3] = nil
	e.link(2, 1, false, false)
	for range 60 {
		_ = e.propose(1, 300)
		e.tick()
	}
	if id := e.leader(); id != 0 && e.voters[id].State().Next.Event > 2 {
		t.Errorf("%d decided with the lost voter's help:\n%s", id, e.status())
	}
	for _, ev := range e.voters[1].State().Events {
		if ev.Cause == "1/300" {
			t.Error("a proposal took effect with the lost voter's help")
		}
	}
}

func TestAChangeOfVotersIsTakenInNoOtherEntry(t *testing.T) {
	s := genesis()
	before, _ := s.Encode()
	if _, r := cluster.ApplyEntry(s, s.Index, replacement(1)); r.Refused == "" {
		t.Error("an ordinary entry replaced a node")
	}
	c := cluster.Command{Do: &cluster.Record{Event: cluster.Event{Kind: "test"}}}
	b, _ := c.Encode()
	if _, r := cluster.ApplyChange(s, s.Index, b); r.Refused == "" {
		t.Error("a change of voters carried something else")
	}
	if after, _ := s.Encode(); string(after) != string(before) {
		t.Error("what was refused changed the state")
	}
	if _, r := cluster.ApplyChange(s, 7, nil); r.Refused != "" || s.Index != 7 {
		t.Errorf("raft's own entry: %+v, index %d", r, s.Index)
	}
}

// replaced runs random faults around a replacement and returns the hash of all that was
// applied. The lost voter lives on for a while, and is heard until both others know.
func replaced(t *testing.T, seed uint64) uint64 {
	e := newEnv(t, seed)
	e.ids = []ident.Node{1, 2, 3, newcomer}
	rng := rand.New(rand.NewPCG(seed, 13))
	next, asked, done := uint64(1), false, false
	for step := range 900 {
		alive := []ident.Node{1, 2, 3}
		if done {
			alive = []ident.Node{1, 3, newcomer}
		}
		id, other := alive[rng.IntN(3)], alive[rng.IntN(3)]
		known := func(n ident.Node) bool { // durably or not: it has applied the change
			if e.voters[n] == nil {
				return false
			}
			_, ok := e.voters[n].State().Nodes[newcomer]
			return ok
		}
		for _, n := range []ident.Node{1, 3} { // who knows it, refuses the old key
			if known(n) {
				e.link(2, n, true, false)
			}
		}
		if !done && (known(1) || known(3)) {
			done = true
			if rng.IntN(2) == 0 {
				e.voters[2] = nil
			}
			e.join()
		}
		switch k := rng.IntN(100); {
		case k < 3 && e.voters[id] != nil:
			e.voters[id] = nil
		case k < 8 && e.voters[id] == nil && id == newcomer:
			e.join()
		case k < 8 && e.voters[id] == nil:
			e.start(id)
		case k < 11 && id != other:
			e.link(id, other, true, rng.IntN(2) == 0)
		case k < 17 && id != other && !(done && (id == 2 || other == 2)):
			e.link(id, other, false, false)
		case k < 35 && e.voters[id] != nil:
			_ = e.propose(id, next)
			if rng.IntN(4) > 0 {
				next++
			}
		case step > 200 && k < 40 && (id == 1 || id == 3) && e.voters[id] != nil:
			asked = true
			_ = e.replace(id, 1<<40)
		default:
			e.tick()
		}
	}
	if !asked {
		t.Fatalf("seed %d never asked", seed)
	}
	e.cut = map[[2]ident.Node]bool{}
	e.voters[2] = nil
	for _, id := range []ident.Node{1, 3} {
		if e.voters[id] == nil {
			e.start(id)
		}
	}
	e.until("the replacement is voted", func() bool { return e.leader() != 0 && e.replace(1, 1<<40) })
	if e.voters[newcomer] == nil {
		e.join()
	}
	for range 80 {
		e.tick()
	}
	e.ids = []ident.Node{1, 3, newcomer}
	e.agree()
	fmt.Fprintln(e.sum, e.status())
	return e.hash()
}

func TestAReplacementHoldsThroughFaultsAndAllAgree(t *testing.T) {
	hashes := map[uint64]bool{}
	for seed := range uint64(40) {
		h := replaced(t, seed)
		hashes[h] = true
		if seed%20 == 0 {
			if again := replaced(t, seed); again != h {
				t.Fatalf("seed %d: hash %x, then %x", seed, h, again)
			}
		}
	}
	if len(hashes) < 38 {
		t.Errorf("40 seeds gave %d different histories", len(hashes))
	}
}
