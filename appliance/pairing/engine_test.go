package pairing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/quorum/cluster"
)

// box is one machine of a test: a folder that survives, and an engine that does not.
type box struct {
	t    *testing.T
	cfg  Config
	e    *Engine
	stop context.CancelFunc
	done chan error
}

func newBox(t *testing.T, k cluster.Kind) *box {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	b := &box{t: t, cfg: Config{Dir: config.Dir(t.TempDir()), Kind: k, Release: "1", Listen: l.Addr().String()}}
	b.cfg.Networks = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.0.0.3/24")} }
	if k == cluster.KindNode {
		b.cfg.Store = filepath.Join(string(b.cfg.Dir), "store")
		b.cfg.About = func(a *About) {
			a.Lan = netcfg.Lan{Port: "#0", Mode: netcfg.ModeDHCP}
			a.Fibres = []FibrePort{{"fibre1", "#1"}, {"fibre2", "#2"}}
		}
	}
	return b
}

func (b *box) start() *box {
	b.t.Helper()
	var err error
	if b.e, err = New(b.cfg, slog.New(slog.DiscardHandler)); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	var once sync.Once
	e, done := b.e, make(chan error, 1)
	b.done = done
	b.stop = func() { once.Do(func() { cancel(); <-done }) }
	go func() { done <- e.Run(ctx); close(done) }()
	b.t.Cleanup(b.stop)
	b.until("it listens", func() bool {
		c, err := net.Dial("tcp", b.cfg.Listen)
		if err == nil {
			_ = c.Close()
		}
		return err == nil || b.founded()
	})
	return b
}

func (b *box) founded() bool { return b.e.isFounded() }

func (b *box) code() string { return b.e.Status().Code }

func (b *box) until(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("never: %s; status %+v", what, b.e.Status())
		}
	}
}

func (b *box) meet(k cluster.Kind, o *box, code string) error {
	return b.e.Meet(b.t.Context(), k, code, o.cfg.Listen)
}

func reason(err error) Reason {
	if err == nil {
		return ""
	}
	return AsFault(err, Disk).Reason
}

func TestTwoCodesFoundAPair(t *testing.T) {
	a, b, w := newBox(t, cluster.KindNode).start(), newBox(t, cluster.KindNode).start(), newBox(t, cluster.KindWitness).start()
	if r := reason(a.meet(cluster.KindNode, b, b.code())); r != NotNow {
		t.Errorf("a meeting before the questions: %q", r)
	}
	elsewhere := request
	elsewhere.Service = netip.MustParsePrefix("192.168.7.7/24")
	if err := AsFault(a.e.Begin(elsewhere), Disk); err == nil || err.Detail != "elsewhere" {
		t.Errorf("a service address of another network: %v", err)
	}
	bare := request
	bare.Service = netip.MustParsePrefix("10.0.0.10/32")
	if err := a.e.Begin(bare); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		err  func() error
		want Reason
	}{
		{"its own code", func() error { return a.meet(cluster.KindNode, b, a.code()) }, SameIdentity},
		{"nobody heard", func() error { return a.e.Meet(t.Context(), cluster.KindNode, string(NewCode()), "") }, NotHeard},
		{"nobody there", func() error { return a.e.Meet(t.Context(), cluster.KindNode, b.code(), "127.0.0.1:1") }, Unreachable},
		{"a wrong code", func() error { return a.meet(cluster.KindNode, b, string(NewCode())) }, CodeWrong},
		{"a witness first", func() error { return a.meet(cluster.KindWitness, w, w.code()) }, NotNow},
		{"too early", a.e.Found, NotNow},
	} {
		if err := tt.err(); reason(err) != tt.want {
			t.Errorf("%s: %v; want %s", tt.name, err, tt.want)
		}
	}
	if b.e.Status().Wrong != 1 {
		t.Errorf("after a wrong code: %+v", b.e.Status())
	}
	if r := reason(a.meet(cluster.KindNode, b, b.code())); r != CodePaused {
		t.Errorf("a try right after a wrong one: %q; want a pause", r)
	}
	b.until("the twin is met", func() bool { return a.meet(cluster.KindNode, b, b.code()) == nil })
	if r := reason(a.meet(cluster.KindWitness, b, b.code())); r != WrongKind {
		t.Errorf("a node as witness: %q", r)
	}
	if err := a.meet(cluster.KindWitness, w, strings.ToLower(w.code())); err != nil {
		t.Fatal(err)
	}
	if err := a.e.Found(); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*box{a, b, w} {
		if err := <-x.done; err != nil {
			t.Fatal(err)
		}
	}
	secrets := a.e.Status().Secrets
	var nodes []*config.Node
	for i, x := range []*box{a, b, w} {
		n, err := config.Load(x.cfg.Dir)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
		key, err := config.LoadKey(x.cfg.Dir)
		if err != nil || !key.Equal(x.e.folder.key) {
			t.Errorf("member %d: key changed: %v", i, err)
		}
		password, err := os.ReadFile(filepath.Join(string(x.cfg.Dir), "admin-password"))
		if i < 2 && (err != nil || string(password) != secrets.Password+"\n" || n.Store.Path != x.cfg.Store) {
			t.Errorf("member %d: password %q (%v), store %q", i, password, err, n.Store.Path)
		}
		for _, left := range []string{keptFile, recordFile} {
			if _, err := os.Stat(x.e.folder.path(left)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("member %d: %s is left: %v", i, left, err)
			}
		}
	}
	if nodes[0].Pair != nodes[1].Pair || nodes[0].Pair != nodes[2].Pair || nodes[0].Citizen.Service != "10.0.0.10:80" {
		t.Errorf("pairs %v %v %v; service %s", nodes[0].Pair, nodes[1].Pair, nodes[2].Pair, nodes[0].Citizen.Service)
	}
	if err := a.e.Noted(); err != nil || a.e.Status().Secrets != nil {
		t.Errorf("noted secrets are still shown: %v", err)
	}
	again, err := New(a.cfg, slog.New(slog.DiscardHandler))
	if err != nil || again.Run(t.Context()) != nil || again.Status().Secrets != nil {
		t.Errorf("a founded member does not go on after a restart: %v", err)
	}
}

func TestGuessingEndsACode(t *testing.T) {
	a, b := newBox(t, cluster.KindNode).start(), newBox(t, cluster.KindNode).start()
	if err := a.e.Begin(request); err != nil {
		t.Fatal(err)
	}
	first := b.code()
	for i := range maxWrong {
		var r Reason
		b.until("a try is taken", func() bool { // the one before may not be over yet
			b.e.mu.Lock()
			b.e.until = time.Time{} // the test does not wait for the pauses
			b.e.mu.Unlock()
			r = reason(a.meet(cluster.KindNode, b, string(NewCode())))
			return r != CodePaused
		})
		if r != CodeWrong {
			t.Fatalf("guess %d: %q", i, r)
		}
	}
	b.until("a new code", func() bool { return b.code() != first })
	if s := b.e.Status(); s.Rest < 10 {
		t.Errorf("no rest after five guesses: %+v", s)
	}
}

// A founder that hears the answer to its share and goes away has used up a try.
func TestATryThatIsBrokenOffCounts(t *testing.T) {
	a, b := newBox(t, cluster.KindNode).start(), newBox(t, cluster.KindNode).start()
	s, _, err := dial(t.Context(), a.e.folder.key, []string{b.cfg.Listen})
	if err != nil {
		t.Fatal(err)
	}
	at, _ := s.meeting(a.e.self(), s.peer)
	e, err := newExchange(NewCode(), at)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.Ask(t.Context(), Message{KindStart, e.Share}); err != nil || m.Kind != KindShare {
		t.Fatalf("%v %v", m, err)
	}
	_ = s.Close()
	b.until("the try is counted and over", func() bool {
		b.e.mu.Lock()
		defer b.e.mu.Unlock()
		return b.e.wrong == 1 && !b.e.meeting
	})
}

func TestAnotherVersionIsToldSo(t *testing.T) {
	a, b := newBox(t, cluster.KindNode).start(), newBox(t, cluster.KindNode).start()
	s, _, err := dial(t.Context(), a.e.folder.key, []string{b.cfg.Listen})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.conn.Write([]byte{0, 9, 0, 1, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	m, err := s.receive(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if r := reason(m.want(KindShare, nil)); r != OtherVersion {
		t.Errorf("%+v", m)
	}
}

func TestOneDiskInTwoMachinesIsRefused(t *testing.T) {
	a := newBox(t, cluster.KindNode).start()
	copied := newBox(t, cluster.KindNode)
	for _, f := range []string{"key", identityFile} {
		b, err := os.ReadFile(filepath.Join(string(a.cfg.Dir), f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(string(copied.cfg.Dir), f), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	copied.start()
	if err := a.e.Begin(request); err != nil {
		t.Fatal(err)
	}
	if r := reason(a.meet(cluster.KindNode, copied, copied.code())); r != SameIdentity {
		t.Errorf("reason %q; want %s", r, SameIdentity)
	}
}

// The twin prepares, and its founder's power goes before the decision: after both
// start again the twin is blank by itself.
func TestAFounderThatStartsAgainUndoesWhatItBegan(t *testing.T) {
	a, b, w := newBox(t, cluster.KindNode).start(), newBox(t, cluster.KindNode).start(), newBox(t, cluster.KindWitness).start()
	meetAll(t, a, b, w)
	w.stop() // the witness is gone when it is asked to prepare
	if err := a.e.Found(); err != nil {
		t.Fatal(err)
	}
	a.until("it has failed", func() bool { s := a.e.Status(); return !s.Act.Working && s.Act.Fault != nil })
	if s := a.e.Status(); s.Act.Fault.Reason != Unreachable || s.Act.At != "witness" || s.Secrets != nil {
		t.Errorf("act: %+v", s.Act)
	}
	if kept, err := b.e.folder.Kept(); err != nil || kept != nil {
		t.Errorf("the twin still keeps what was undone: %v", err)
	}
	// Now without a word to the twin: its document outlives both, and the founder's record too.
	record, docs, _, err := MakePlan(*a.e.act.request, Party{Key: a.e.self(), About: a.e.about()}, *a.e.act.twin, *a.e.act.witness)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.e.folder.Write(record), b.e.folder.Keep(docs[0])); err != nil {
		t.Fatal(err)
	}
	a.stop()
	b.stop()
	b.start()
	if b.e.Status().Kept != "Beauval" {
		t.Errorf("the twin does not say for what it waits: %+v", b.e.Status())
	}
	a.start()
	b.until("the twin has forgotten", func() bool { return b.e.Status().Kept == "" })
	w.start()
	a.until("the founder has told all", func() bool { return len(a.e.Status().Pending) == 0 })
	meetAll(t, a, b, w)
	if err := a.e.Found(); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*box{a, b, w} {
		x.until("founded", x.founded)
	}
}

func meetAll(t *testing.T, a, b, w *box) {
	t.Helper()
	if err := a.e.Begin(request); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		k cluster.Kind
		o *box
	}{{cluster.KindNode, b}, {cluster.KindWitness, w}} {
		if err := a.meet(x.k, x.o, x.o.code()); err != nil {
			t.Fatal(err)
		}
	}
}

// The founder's power goes right after its decision: its next life tells the others.
func TestADecidedFoundingIsFinishedInTheNextLife(t *testing.T) {
	a, b, w := newBox(t, cluster.KindNode).start(), newBox(t, cluster.KindNode).start(), newBox(t, cluster.KindWitness).start()
	meetAll(t, a, b, w)
	record, docs, _, err := MakePlan(*a.e.act.request, Party{Key: a.e.self(), About: a.e.about()}, *a.e.act.twin, *a.e.act.witness)
	if err != nil {
		t.Fatal(err)
	}
	record.Decided = true
	if err := errors.Join(a.e.folder.Write(record), b.e.folder.Keep(docs[0]), w.e.folder.Keep(docs[1])); err != nil {
		t.Fatal(err)
	}
	a.stop()
	b.stop() // and the twin's
	b.start()
	a.start()
	for _, x := range []*box{a, b, w} {
		x.until("founded", x.founded)
		if id, err := x.e.folder.Founded(); err != nil || id != record.Founding {
			t.Errorf("founded as %v, %v", id, err)
		}
	}
}

// A founding of this node's own that was not decided leaves nothing behind, and does
// not keep others from founding it.
func TestWhatWasNotDecidedStandsInNobodysWay(t *testing.T) {
	a, b, w := newBox(t, cluster.KindNode).start(), newBox(t, cluster.KindNode).start(), newBox(t, cluster.KindWitness).start()
	gone := Party{Key: make([]byte, 32), About: About{Kind: cluster.KindNode, Release: "1", Replica: [16]byte{9}, Fibres: a.e.about().Fibres, Lan: a.e.about().Lan}, Addresses: []string{"127.0.0.1:1"}}
	record, _, secrets, err := MakePlan(request, Party{Key: b.e.self(), About: b.e.about(), Addresses: []string{""}}, gone, Party{Key: w.e.self(), About: w.e.about(), Addresses: []string{w.cfg.Listen}})
	if err != nil {
		t.Fatal(err)
	}
	b.stop()
	if err := errors.Join(b.e.folder.Write(record), b.e.folder.write(secretsFile, secrets), b.e.folder.write(serviceFile, true)); err != nil {
		t.Fatal(err)
	}
	b.start()
	if s := b.e.Status(); s.Secrets != nil {
		t.Errorf("passwords of a pair that is none are shown: %+v", s)
	}
	meetAll(t, a, b, w)
	if err := a.e.Found(); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*box{a, b, w} {
		x.until("founded", x.founded)
	}
	if id, err := b.e.folder.Founded(); err != nil || id == record.Founding {
		t.Errorf("founded as %v, %v", id, err)
	}
	if Unfinished(b.cfg.Dir) {
		t.Error("it believes to have founded the pair")
	}
}

func TestAMemberIsHeardWhereItIs(t *testing.T) {
	self := Beacon{Kind: cluster.KindNode, Port: Port, Tag: "AA", Who: [8]byte{1}}
	h := &hearing{log: slog.New(slog.DiscardHandler), self: func() Beacon { return self }}
	now := time.Now()
	local, routed := netip.MustParseAddr("fe80::2%eth0"), netip.MustParseAddr("10.0.0.2")
	node, witness := Beacon{Kind: cluster.KindNode, Port: 7100, Tag: "BB", Who: [8]byte{2}}, Beacon{Kind: cluster.KindWitness, Port: 7103, Tag: "CC", Who: [8]byte{3}}
	for _, a := range []netip.Addr{routed, local, routed} {
		h.hear(node, a, now)
	}
	for _, a := range []netip.Addr{local, routed} {
		h.hear(witness, a, now)
	}
	h.hear(self, routed, now)
	got := fmt.Sprint(h.list()[0].Addresses, h.list()[1].Addresses, len(h.list()))
	if want := "[[fe80::2%eth0]:7100 10.0.0.2:7100] [10.0.0.2:7103 [fe80::2%eth0]:7103] 2"; got != want {
		t.Errorf("heard %s; want %s", got, want)
	}
	// A link that has just come up: nobody is met at the address of a network of its own.
	early := Beacon{Kind: cluster.KindNode, Port: 7100, Tag: "EE", Who: [8]byte{4}}
	h.hear(early, netip.MustParseAddr("fded:6c75:93b6:ff01::1"), now)
	if got := len(h.list()); got != 2 {
		t.Errorf("%d are heard; one of them cannot be met", got)
	}
	h.hear(early, local, now)
	h.hear(early, netip.MustParseAddr("fded:6c75:93b6:ff01::1"), now)
	if got := fmt.Sprint(h.list()[2].Addresses); got != "[[fe80::2%eth0]:7100]" {
		t.Errorf("it is met at %s", got)
	}
	for i := range 2 * maxHeard {
		h.hear(Beacon{Kind: cluster.KindNode, Port: 1, Tag: "DD", Who: [8]byte{9, byte(i)}}, routed, now)
	}
	if n := len(h.list()); n > maxHeard {
		t.Errorf("%d are kept", n)
	}
}
