package pairing

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// founded is a pair's node a: its key and what it was handed. Passwords are hashed
// slowly, so it is founded once for all tests.
var founded = sync.OnceValues(func() (ed25519.PrivateKey, *Document) {
	w := newTown()
	rec, _, _, err := MakePlan(request, w.all[0].party(), w.all[1].party(), w.all[2].party())
	if err != nil {
		panic(err)
	}
	return w.all[0].key, rec.Mine
})

// lone is a pair whose node b is lost: what a has of it, and the voted state.
func lone(t *testing.T) (a *member, s *Survivor, st *cluster.State) {
	t.Helper()
	key, mine := founded()
	mine = clone(mine)
	s = &Survivor{Node: mine.Node, Release: "1", Token: mine.Token, Password: mine.Password, Rescue: mine.Rescue}
	if err := json.Unmarshal(mine.Network, &s.Network); err != nil {
		t.Fatal(err)
	}
	w := &town{}
	a = &member{t: w, key: key}
	w.all[0] = a
	return a, s, mine.Node.Genesis()
}

// newMachine is one that waits for a pair.
func newMachine() (ed25519.PrivateKey, Party) {
	public, key, _ := ed25519.GenerateKey(nil)
	return key, Party{Key: public, Addresses: []string{"10.0.0.7:7100"}, About: About{
		Kind: cluster.KindNode, Release: "1", Replica: ident.NewUUID(), Lan: netcfg.Lan{Port: "#0", Mode: netcfg.ModeDHCP, IPv6: netcfg.IPv6Off},
		Fibres: []FibrePort{{"fibre1", "#2"}, {"fibre2", "#1"}},
	}}
}

func TestANewMachineIsHandedTheLostNodesPlace(t *testing.T) {
	_, s, st := lone(t)
	key, fresh := newMachine()
	twin, _ := s.Node.Twin()
	r, d, err := s.MakeReplacement(fresh)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.seed(key).Validate(); err != nil {
		t.Error(err)
	}
	if r.Do.Old != twin.ID || r.Do.Node == twin.ID || r.Do.Node > s.Node.Members[2].ID || r.Do.Replica != fresh.About.Replica || !bytes.Equal(r.Do.PublicKey, fresh.Key) {
		t.Errorf("to be voted: %+v", r.Do)
	}
	if _, err := cluster.Apply(st, cluster.Command{Do: &r.Do}); err != nil {
		t.Fatal(err)
	}
	n := d.Node
	if !n.Joins || n.Self != r.Do.Node || n.Me().Name != "b" || n.Me().Site != twin.Site {
		t.Errorf("it is %+v, joins %v", n.Me(), n.Joins)
	}
	if next, ok := n.Follow(st); ok {
		t.Errorf("its members are not those that are voted: %+v", next.Members)
	}
	other, _ := n.Twin()
	if !slices.Equal(other.VotePaths, s.Node.VoteListen) || !slices.Equal(other.DataPaths, s.Node.DataListen) || !slices.Equal(n.VoteListen, twin.VotePaths) || !slices.Equal(n.DataListen, twin.DataPaths) {
		t.Errorf("paths: it listens at %v %v and looks for %v %v", n.VoteListen, n.DataListen, other.VotePaths, other.DataPaths)
	}
	for _, c := range []interface{ Validate() error }{ptr(n.VoteTransport(key)), ptr(n.DataTransport(key))} {
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
	if n.Citizen != s.Node.Citizen || n.Console != s.Node.Console || d.Token != s.Token || d.Password != s.Password || d.Rescue != s.Rescue || d.Rescue == "" {
		t.Error("it has another town, console or secrets")
	}
	var c netcfg.Config
	if err := json.Unmarshal(d.Network, &c); err != nil {
		t.Fatal(err)
	}
	if c.HostName != "b" || c.Service != s.Network.Service || c.Fibres[0].Port != "#2" || c.Fibres[1].Port != "#1" || c.Lan.IPv6 != netcfg.IPv6Static {
		t.Errorf("network: %+v", c)
	}
	at := func(i int) string { return c.Fibres[i].Address.Addr().String() }
	if !strings.Contains(twin.DataPaths[0].Addr, at(0)) || !strings.Contains(twin.DataPaths[1].Addr, at(1)) || !strings.Contains(twin.VotePaths[2].Addr, c.Lan.Addresses[0].Addr().String()) {
		t.Errorf("its addresses %v %v are not those by which it is known: %v", c.Fibres, c.Lan.Addresses, twin.VotePaths)
	}
}

func TestWhatCannotTakeALostNodesPlaceIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(s *Survivor, p *Party)
		want Reason
	}{
		{"a witness", func(_ *Survivor, p *Party) { p.About.Kind = cluster.KindWitness }, WrongKind},
		{"another release", func(_ *Survivor, p *Party) { p.About.Release = "2" }, OtherRelease},
		{"a store of another pair", func(_ *Survivor, p *Party) { p.About.Taken = fault(StoreTaken, "pair x") }, StoreTaken},
		{"the survivor's key", func(s *Survivor, p *Party) { p.Key = s.Node.Me().PublicKey }, SameIdentity},
		{"the lost node's key", func(s *Survivor, p *Party) { m, _ := s.Node.Twin(); p.Key = m.PublicKey }, SameIdentity},
		{"the survivor's store", func(s *Survivor, p *Party) { p.About.Replica = s.Node.Me().Replica }, SameIdentity},
		{"the lost node's store", func(s *Survivor, p *Party) { m, _ := s.Node.Twin(); p.About.Replica = m.Replica }, SameIdentity},
		{"no replica", func(_ *Survivor, p *Party) { p.About.Replica = ident.UUID{} }, SameIdentity},
		{"a fibre too few", func(_ *Survivor, p *Party) { p.About.Fibres = p.About.Fibres[:1] }, NoFibre},
		{"no fibre", func(s *Survivor, p *Party) { s.Network.Fibres, p.About.Fibres = nil, nil }, NoFibre},
		{"a lan that is none", func(_ *Survivor, p *Party) { p.About.Lan = netcfg.Lan{Mode: "x"} }, BadDocument},
	} {
		_, s, _ := lone(t)
		_, fresh := newMachine()
		tt.do(s, &fresh)
		if _, _, err := s.MakeReplacement(fresh); reason(err) != tt.want {
			t.Errorf("%s: %v; want %s", tt.name, err, tt.want)
		}
	}
}

// booth is a voted state by the real rules; its step is where the power of the node
// that asks can go, before or after the vote.
type booth struct {
	state *cluster.State
	step  func()
}

func (b *booth) Watch(context.Context, uint64) (*cluster.State, error) { return b.state.Clone(), nil }
func (b *booth) Propose(_ context.Context, do cluster.Action) (cluster.Result, error) {
	b.step()
	r, err := cluster.Apply(b.state, cluster.Command{Do: do})
	b.step()
	return r, err
}

// site is the survivor and a new machine, for tests of what a cut leaves.
type site struct {
	survivor *member
	fresh    *member
	note     *Replacement
	votes    *booth
	up       map[ident.Node]bool
}

func (s *site) Replacement() (*Replacement, error) {
	if s.note == nil {
		return nil, nil
	}
	return clone(s.note), nil
}
func (s *site) Note(r *Replacement) error { return s.survivor.durable(func() { s.note = clone(r) }) }
func (s *site) Strike() error             { return s.survivor.durable(func() { s.note = nil }) }

func (s *site) swap() *swap {
	return &swap{book: s, votes: s.votes, up: func(_ context.Context, id ident.Node) bool { return s.up[id] }, peer: s.fresh, say: func(Step, string) {}}
}

// live runs one life of the survivor; it reports whether the power went.
func (s *site) live(f func()) (died bool) {
	defer func() {
		if p := recover(); p != nil {
			if p != any(errPower) {
				panic(p)
			}
			died = true
		}
	}()
	f()
	return false
}

func newSite(t *testing.T, cuts ...int) (*site, *Replacement, *Document) {
	a, sv, st := lone(t)
	w := a.t
	key, fresh := newMachine()
	m := &member{t: w, i: 1, key: key}
	s := &site{survivor: a, fresh: m, up: map[ident.Node]bool{}}
	s.votes = &booth{st, a.step}
	r, d, err := sv.MakeReplacement(fresh)
	if err != nil {
		t.Fatal(err)
	}
	w.steps, w.cut = 0, map[int]bool{}
	for _, c := range cuts {
		w.cut[c] = true
	}
	return s, r, d
}

// outcome checks that exactly one machine is b, and that it knows.
func (s *site) outcome(r *Replacement) error {
	_, old := s.votes.state.Nodes[r.Do.Old]
	_, fresh := s.votes.state.Nodes[r.Do.Node]
	switch {
	case s.note != nil:
		return errors.New("something is left to do")
	case s.fresh.kept != nil:
		return errors.New("the new machine waits for a word that does not come")
	case old == fresh:
		return fmt.Errorf("old member %v, new member %v", old, fresh)
	case fresh != !s.fresh.founded.IsZero():
		return fmt.Errorf("new member %v, and the machine believes %v", fresh, s.fresh.founded)
	}
	return nil
}

func TestACutAnywhereLeavesTheOldNodeOrTheNewOne(t *testing.T) {
	whole, r, d := newSite(t)
	if err := whole.swap().begin(t.Context(), r, d); err != nil {
		t.Fatal(err)
	}
	if err := whole.outcome(r); err != nil || whole.fresh.founded.IsZero() {
		t.Fatalf("without a cut: %v", err)
	}
	steps := whole.survivor.t.steps
	if steps < 12 {
		t.Fatalf("%d steps", steps)
	}
	both := map[bool]int{}
	for first := 1; first <= steps; first++ {
		for second := first; second <= steps+4; second++ {
			s, r, d := newSite(t, first, second)
			died := s.live(func() { _ = s.swap().begin(t.Context(), r, d) })
			for turn := 0; turn < 8 && (died || s.note != nil || turn == 0); turn++ { // the next lives and turns
				s.survivor.dead, s.fresh.dead, s.fresh.wireCut = false, false, false
				died = s.live(func() {
					if left, _ := s.Replacement(); left != nil {
						_, _ = s.swap().settle(t.Context(), left)
					}
				})
			}
			if s.fresh.kept != nil && s.note == nil && s.fresh.founded.IsZero() {
				t.Fatalf("cuts at %d and %d: the new machine is forgotten", first, second)
			}
			if err := s.outcome(r); err != nil {
				t.Fatalf("cuts at %d and %d: %v", first, second, err)
			}
			both[!s.fresh.founded.IsZero()]++
			if s.fresh.founded.IsZero() { // a person begins again
				s.survivor.t.cut = nil
				if err := s.swap().begin(t.Context(), r, d); err != nil || s.fresh.founded.IsZero() {
					t.Fatalf("cuts at %d and %d: a second attempt: %v", first, second, err)
				}
			}
		}
	}
	if both[true] == 0 || both[false] == 0 {
		t.Errorf("new %d times, old %d times: want both", both[true], both[false])
	}
}

func TestWhatChangesBeforeTheVoteIsTakenBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(s *site, r *Replacement)
		want Reason
	}{
		{"the lost node is heard", func(s *site, r *Replacement) { s.up[r.Do.Old] = true }, TwinAlive},
		{"it is in sync", func(s *site, r *Replacement) {
			for _, n := range s.votes.state.DataNodes() {
				s.votes.state.Groups[1] = cluster.Group{ID: 1, Name: "g", Config: cluster.Config{Epoch: 1, Primary: n, InSync: s.votes.state.DataNodes(), Lineage: 1}}
			}
		}, Refused},
		{"it was replaced by another", func(s *site, r *Replacement) { delete(s.votes.state.Nodes, r.Do.Old) }, Refused},
		{"the new machine has a pair", func(s *site, r *Replacement) { s.fresh.founded = ident.UUID{9} }, NotBlank},
		{"it was prepared for somebody else", func(s *site, r *Replacement) { s.fresh.kept = &Document{Founder: []byte("x")} }, OtherFounder},
	} {
		s, r, d := newSite(t)
		tt.do(s, r)
		before, _ := s.votes.state.Encode()
		err := s.swap().begin(t.Context(), r, d)
		after, _ := s.votes.state.Encode()
		if reason(err) != tt.want || !bytes.Equal(before, after) || s.note != nil || s.fresh.founded == d.Founding || s.fresh.kept != nil && s.fresh.kept.Founding == d.Founding {
			t.Errorf("%s: %v; want %s and nothing changed; left %+v", tt.name, err, tt.want, s.note)
		}
	}
}

func TestOnceTheVoteWasAskedOnlyTheVoteDecides(t *testing.T) {
	s, r, d := newSite(t)
	s.votes.step = func() {}
	deaf := &deafVote{s.votes, true}
	w := s.swap()
	w.votes = deaf
	if err := w.begin(t.Context(), r, d); reason(err) != NoVotes || s.note == nil || s.fresh.kept == nil {
		t.Fatalf("a vote without an answer: %v; want the record kept", err)
	}
	s.up[r.Do.Old] = true // it returns now; the proposal may be on its way
	left, _ := s.Replacement()
	if done, err := w.settle(t.Context(), left); done || reason(err) != NoVotes || s.fresh.kept == nil {
		t.Errorf("the next turn: %v, %v; want it to go on asking", done, err)
	}
	deaf.on = false
	if done, err := w.settle(t.Context(), left); !done || err != nil {
		t.Errorf("with an answer: %v, %v", done, err)
	}
	if err := s.outcome(r); err != nil || s.fresh.founded != d.Founding {
		t.Error(err)
	}
}

// deafVote gives no answer while it is on.
type deafVote struct {
	*booth
	on bool
}

func (v *deafVote) Propose(ctx context.Context, do cluster.Action) (cluster.Result, error) {
	if v.on {
		return cluster.Result{}, errors.New("undecided")
	}
	return v.booth.Propose(ctx, do)
}

// Here the survivor's folder, the sockets and the code are real.
func TestACodeTakesANewMachineIn(t *testing.T) {
	a, sv, st := lone(t)
	dir := config.Dir(t.TempDir())
	network, _ := json.Marshal(sv.Network)
	own := Document{Node: sv.Node, Network: network, Token: sv.Token, Password: sv.Password, Rescue: sv.Rescue}
	if err := own.seed(a.key).Adopt(dir); err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{Dir: dir, Kind: cluster.KindNode, Release: "1", Store: "store", About: func(*About) {}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if key, err := config.LoadKey(dir); err != nil || !key.Equal(a.key) || e.replica != sv.Node.Me().Replica || !e.hearing.mute {
		t.Fatalf("the engine of a founded node made another identity of it, or shouts: %v", err)
	}
	b := newBox(t, cluster.KindNode).start()
	votes, twin := &booth{st, func() {}}, sv.Node.Members[1].ID
	up := map[ident.Node]bool{twin: true}
	p := Pair{Votes: votes, Up: func(_ context.Context, id ident.Node) bool { return up[id] }}
	try := func(code string) Reason { return reason(e.Replace(t.Context(), p, code, b.cfg.Listen)) }
	if r := try(b.code()); r != TwinAlive {
		t.Errorf("while the twin is heard: %q", r)
	}
	up[twin] = false
	for _, tt := range []struct {
		code string
		want Reason
	}{{"", CodeLength}, {"0000-0000", CodeCharacter}, {string(NewCode()), CodeWrong}} {
		if r := try(tt.code); r != tt.want {
			t.Errorf("code %q: %q; want %s", tt.code, r, tt.want)
		}
	}
	if e.Looks() {
		t.Error("nobody has asked it to look, and it looks")
	}
	former := &Replacement{Do: cluster.ReplaceNode{Old: twin, Node: 77}, Prepared: true, Asked: true}
	if err := e.folder.Note(former); err != nil {
		t.Fatal(err)
	}
	if r := try(b.code()); r != Undecided {
		t.Errorf("while the vote may still take a former machine: %q", r)
	}
	if err := e.folder.Strike(); err != nil {
		t.Fatal(err)
	}
	e.Look()
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { ended <- e.Replacing(ctx, p) }()
	b.until("the code is taken", func() bool {
		err := e.Replace(t.Context(), p, b.code(), b.cfg.Listen)
		if r := reason(err); r != "" && r != CodePaused {
			t.Fatal(err)
		}
		return err == nil
	})
	b.until("it belongs to the pair", b.founded)
	b.until("nothing is left", func() bool { return e.Status().Act.Step == StepReplaced && !e.Status().Act.Working })
	n, err := config.Load(b.cfg.Dir)
	if err != nil || n.Pair != sv.Node.Pair || n.Me().Name != "b" || !n.Joins || votes.state.Nodes[n.Self].Replica != n.Me().Replica || ReplacementBegun(dir) {
		t.Errorf("%+v, %v", n, err)
	}
	if act := e.Status().Act; act.Replaces != "b" || act.Fault != nil {
		t.Errorf("the survivor says %+v", act)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
