package raftnode_test

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/raftnode"
)

func genesis() *cluster.State {
	return cluster.New(pairID, map[ident.Node]cluster.Node{
		1: {Name: "a", Kind: cluster.KindNode, Replica: ident.UUID{1}},
		2: {Name: "b", Kind: cluster.KindNode, Replica: ident.UUID{2}},
		3: {Name: "w", Kind: cluster.KindWitness},
	})
}

// env is three voters, their disks and the messages between them.
type env struct {
	t       *testing.T
	seed    uint64
	ids     []ident.Node // who is looked at, in order
	voters  map[ident.Node]*raftnode.Voter
	stores  map[ident.Node]*raftnode.Memory
	cut     map[[2]ident.Node]bool // by direction
	wire    []packet
	sum     io.Writer
	hash    func() uint64
	log     map[uint64]string // index to what was applied there: the same for all
	leaders map[uint64]ident.Node
}

type packet struct {
	from, to ident.Node
	bytes    []byte
}

var voterIDs = []ident.Node{1, 2, 3}

func newEnv(t *testing.T, seed uint64) *env {
	h := fnv.New64a()
	e := &env{t: t, seed: seed, ids: voterIDs, voters: map[ident.Node]*raftnode.Voter{}, stores: map[ident.Node]*raftnode.Memory{}, cut: map[[2]ident.Node]bool{},
		sum: h, hash: h.Sum64, log: map[uint64]string{}, leaders: map[uint64]ident.Node{}}
	for _, id := range voterIDs {
		e.stores[id] = &raftnode.Memory{}
		p, err := raftnode.Genesis(genesis())
		if err != nil {
			t.Fatal(err)
		}
		if err := e.stores[id].Persist(p); err != nil {
			t.Fatal(err)
		}
		e.start(id)
	}
	return e
}

func (e *env) start(id ident.Node) {
	r, err := e.stores[id].Restore()
	if err != nil {
		e.t.Fatal(err)
	}
	e.voters[id], err = raftnode.NewVoter(raftnode.VoterConfig{
		Core: raftnode.CoreConfig{Self: id, ElectionTicks: 10, HeartbeatTicks: 2, Seed: e.seed}, SnapshotEvery: 20}, r)
	if err != nil {
		e.t.Fatal(err)
	}
}

// work does what a voter wants done, and checks what must always hold.
func (e *env) work(id ident.Node) {
	v := e.voters[id]
	for {
		w, have, err := v.Work()
		if err != nil {
			e.t.Fatalf("voter %d: %v", id, err)
		}
		if !have {
			break
		}
		if !w.Persist.Empty() {
			if err := e.stores[id].Persist(w.Persist); err != nil {
				e.t.Fatal(err)
			}
		}
		for _, m := range w.Messages {
			e.wire = append(e.wire, packet{id, m.To, m.Bytes})
		}
		for _, a := range w.Applied {
			text := fmt.Sprintf("%v %+v", a.ID, a.Result)
			if was, seen := e.log[a.Index]; seen && was != text {
				e.t.Fatalf("voter %d applied %q at %d; another applied %q", id, text, a.Index, was)
			}
			e.log[a.Index] = text
			fmt.Fprintln(e.sum, id, a.Index, text)
		}
		if err := v.Done(); err != nil {
			e.t.Fatalf("voter %d: %v", id, err)
		}
	}
	if st := v.Standing(); st.Role == raftnode.Leader {
		if was := e.leaders[st.Term]; was != 0 && was != id {
			e.t.Fatalf("term %d has two leaders, %d and %d", st.Term, was, id)
		}
		e.leaders[st.Term] = id
	}
}

func (e *env) settle() {
	for _, id := range e.ids {
		if e.voters[id] != nil {
			e.work(id)
		}
	}
	for len(e.wire) > 0 {
		p := e.wire[0]
		e.wire = e.wire[1:]
		if e.cut[[2]ident.Node{p.from, p.to}] || e.voters[p.to] == nil {
			continue
		}
		stranger := len(e.ids) > len(voterIDs) // one of them does not vote yet, or no more
		if err := e.voters[p.to].Step(p.from, p.bytes); err != nil && !errors.Is(err, raftnode.ErrDropped) && !(stranger && errors.Is(err, raftnode.ErrMessage)) {
			e.t.Fatalf("voter %d: %v", p.to, err)
		}
		e.work(p.to)
	}
}

func (e *env) tick() {
	for _, id := range e.ids {
		if e.voters[id] == nil {
			continue
		}
		if err := e.voters[id].Tick(); err != nil {
			e.t.Fatal(err)
		}
		e.settle()
	}
}

func (e *env) propose(id ident.Node, pid uint64) error {
	c := cluster.Command{ID: cluster.ProposalID{Node: id, Random: pid}, Do: &cluster.Record{Event: cluster.Event{Kind: "test", Cause: fmt.Sprint(id, "/", pid)}}}
	b, err := c.Encode()
	if err != nil {
		e.t.Fatal(err)
	}
	err = e.voters[id].Propose(b)
	e.settle()
	return err
}

func (e *env) leader() ident.Node {
	var best raftnode.Standing
	var id ident.Node
	for _, n := range e.ids {
		if e.voters[n] == nil {
			continue
		}
		if st := e.voters[n].Standing(); st.Role == raftnode.Leader && st.Term >= best.Term {
			best, id = st, n
		}
	}
	return id
}

func (e *env) status() string {
	var b strings.Builder
	for _, id := range e.ids {
		v := e.voters[id]
		if v == nil {
			fmt.Fprintf(&b, "%d: down\n", id)
			continue
		}
		st := v.Standing()
		fmt.Fprintf(&b, "%d: %s term %d leader %d applied %d events %d\n", id, st.Role, st.Term, uint64(st.Leader), v.State().Index, v.State().Next.Event-1)
	}
	return b.String()
}

func (e *env) link(a, b ident.Node, cut, oneWay bool) {
	e.cut[[2]ident.Node{a, b}] = cut
	if !oneWay {
		e.cut[[2]ident.Node{b, a}] = cut
	}
}

// The scripts in testdata drive three voters; their full state is the expectation.
func TestTheVotersFollowTheScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		var e *env
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			n, a, b, from, count := 1, 0, 0, 0, 1
			id := 0
			for key, to := range map[string]*int{"n": &n, "a": &a, "b": &b, "from": &from, "count": &count, "id": &id} {
				d.MaybeScanArgs(t, key, to)
			}
			switch d.Cmd {
			case "new":
				e = newEnv(t, uint64(n))
			case "tick":
				for range n {
					e.tick()
				}
			case "campaign":
				if err := e.voters[ident.Node(n)].Campaign(); err != nil {
					return err.Error()
				}
				e.settle()
			case "transfer":
				if err := e.voters[e.leader()].Transfer(ident.Node(n)); err != nil {
					return err.Error()
				}
				e.settle()
			case "cut", "heal":
				e.link(ident.Node(a), ident.Node(b), d.Cmd == "cut", d.HasArg("oneway"))
				return "ok"
			case "crash":
				e.voters[ident.Node(n)] = nil
				return "ok"
			case "restart":
				e.start(ident.Node(n))
				e.settle()
			case "propose":
				for i := range count {
					if err := e.propose(ident.Node(from), uint64(id+i)); err != nil {
						return err.Error()
					}
				}
			default:
				return "unknown command"
			}
			return e.status()
		})
	})
}

// history runs random faults and returns the hash of all that was applied.
func history(t *testing.T, seed uint64) uint64 {
	e := newEnv(t, seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	next := uint64(1)
	for range 600 {
		id := voterIDs[rng.IntN(3)]
		other := voterIDs[rng.IntN(3)]
		switch k := rng.IntN(100); {
		case k < 3 && e.voters[id] != nil:
			e.voters[id] = nil
		case k < 8 && e.voters[id] == nil:
			e.start(id)
		case k < 11 && id != other:
			e.link(id, other, true, rng.IntN(2) == 0)
		case k < 17 && id != other:
			e.link(id, other, false, false)
		case k < 45 && e.voters[id] != nil:
			_ = e.propose(id, next)
			if rng.IntN(4) > 0 { // else the same proposal is made again later
				next++
			}
		default:
			e.tick()
		}
	}
	e.cut = map[[2]ident.Node]bool{}
	for _, id := range voterIDs {
		if e.voters[id] == nil {
			e.start(id)
		}
	}
	for range 60 {
		e.tick()
	}
	e.agree()
	fmt.Fprintln(e.sum, e.status())
	return e.hash()
}

// agree checks that, once all is mended, there is one leader, one state, and
// each proposal took effect at most once.
func (e *env) agree() {
	if e.leader() == 0 {
		e.t.Fatalf("no leader after everything was mended:\n%s", e.status())
	}
	var first []byte
	for _, id := range e.ids {
		b, err := e.voters[id].State().Encode()
		if err != nil {
			e.t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if string(b) != string(first) {
			e.t.Fatalf("voters 1 and %d disagree:\n%s\n%s", id, first, b)
		}
	}
	count := map[string]int{}
	for _, ev := range e.voters[1].State().Events {
		count[ev.Cause]++
	}
	for cause, n := range count {
		if n > 1 {
			e.t.Fatalf("proposal %s took effect %d times", cause, n)
		}
	}
}

func TestOneSeedGivesOneHistoryAndAllAgree(t *testing.T) {
	hashes := map[uint64]bool{}
	for seed := range uint64(60) {
		h := history(t, seed)
		hashes[h] = true
		if seed%10 == 0 {
			if again := history(t, seed); again != h {
				t.Fatalf("seed %d: hash %x, then %x", seed, h, again)
			}
		}
	}
	if len(hashes) < 55 {
		t.Errorf("60 seeds gave %d different histories", len(hashes))
	}
}

func FuzzStep(f *testing.F) {
	f.Add([]byte{8, 3, 16, 1, 24, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := raftnode.Genesis(genesis())
		if err != nil {
			t.Fatal(err)
		}
		var r raftnode.Restored
		if err := r.Apply(p); err != nil {
			t.Fatal(err)
		}
		v, err := raftnode.NewVoter(raftnode.VoterConfig{Core: raftnode.CoreConfig{Self: 1, ElectionTicks: 10, HeartbeatTicks: 2}}, r)
		if err != nil {
			t.Fatal(err)
		}
		_ = v.Step(2, b)
		if _, have, err := v.Work(); err == nil && have {
			_ = v.Done()
		}
		_ = v.Tick()
	})
}
