package pairing

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// The town of these tests: three members, each with a journal that survives a power
// cut, and wires between them. Every durable step and every message is a point at
// which the power of one member, or a wire, can go.

var errPower = errors.New("power cut")

type town struct {
	steps int
	cut   map[int]bool // the steps at which something goes
	all   [3]*member
}

type member struct {
	t       *town
	i       int
	key     ed25519.PrivateKey
	dead    bool
	wireCut bool

	kept    *Document
	founded ident.UUID
	record  *Record
}

func (m *member) pub() ed25519.PublicKey { return m.key.Public().(ed25519.PublicKey) }

// step is a point where the power of m may go.
func (m *member) step() {
	m.t.steps++
	if m.t.cut[m.t.steps] {
		m.dead = true
		panic(errPower)
	}
}

func clone[T any](v *T) *T {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var c T
	if err := json.Unmarshal(b, &c); err != nil {
		panic(err)
	}
	return &c
}

func (m *member) durable(change func()) error {
	m.step()
	change()
	m.step()
	return nil
}

func (m *member) Kept() (*Document, error) {
	if m.kept == nil {
		return nil, nil
	}
	return clone(m.kept), nil
}
func (m *member) Keep(d *Document) error { return m.durable(func() { m.kept = clone(d) }) }
func (m *member) Forget() error          { return m.durable(func() { m.kept = nil }) }
func (m *member) Adopt(d *Document) error {
	return m.durable(func() {
		if !m.founded.IsZero() && m.founded != d.Founding {
			panic("adopted two foundings")
		}
		m.founded = d.Founding
	})
}
func (m *member) Founded() (ident.UUID, error) { return m.founded, nil }
func (m *member) Record() (*Record, error) {
	if m.record == nil {
		return nil, nil
	}
	return clone(m.record), nil
}
func (m *member) Write(r *Record) error { return m.durable(func() { m.record = clone(r) }) }
func (m *member) Close() error          { return m.durable(func() { m.record = nil }) }

func (m *member) about() About {
	if m.i == 2 {
		return About{Kind: cluster.KindWitness, Address: "10.0.0.9:7100"}
	}
	return About{Kind: cluster.KindNode, Release: "1", Replica: ident.UUID{byte(m.i + 1)}, Lan: netcfg.Lan{Port: "#0", Mode: netcfg.ModeDHCP},
		Fibres: []FibrePort{{"fibre1", "#1"}, {"fibre2", "#2"}}}
}

func (m *member) party() Party {
	return Party{Key: m.pub(), About: m.about(), Addresses: []string{fmt.Sprintf("10.0.0.%d:7100", m.i)}}
}

// Ask is the wire from the founder to m.
func (m *member) Ask(_ context.Context, q Message) (answer Message, err error) {
	lost := func() bool {
		m.t.steps++
		m.wireCut = m.wireCut || m.t.cut[m.t.steps]
		return m.wireCut || m.dead
	}
	if lost() {
		return Message{}, errors.New("no answer")
	}
	defer func() {
		if e := recover(); e != nil {
			if e != errPower {
				panic(e)
			}
			err = errors.New("no answer")
		}
	}()
	o := Offer{Key: m.pub(), About: m.about(), Journal: m}
	answer = o.Handle(m.t.all[0].pub(), q)
	if lost() {
		return Message{}, errors.New("no answer")
	}
	return answer, nil
}

func newTown(cut ...int) *town {
	t := &town{cut: map[int]bool{}}
	for _, n := range cut {
		t.cut[n] = true
	}
	for i := range t.all {
		seed := sha256.Sum256([]byte{byte(i)})
		t.all[i] = &member{t: t, i: i, key: ed25519.NewKeyFromSeed(seed[:])}
	}
	return t
}

// run is a life of the founder: it ends with the power or by itself.
func (t *town) run(f func(l Ledger) error) (err error) {
	defer func() {
		if e := recover(); e != nil {
			if e != errPower {
				panic(e)
			}
			err = errPower
		}
	}()
	return f(t.all[0])
}

var request = Request{Town: "Beauval", Here: "principal", There: "secours", Service: netip.MustParsePrefix("10.0.0.10/24"), Profile: "production"}

type planned struct {
	rec  *Record
	docs []*Document
}

func plans(t *testing.T) []planned {
	w := newTown()
	var all []planned
	for range 2 { // the argon2 of a plan is slow: made once for all runs
		rec, docs, _, err := MakePlan(request, w.all[0].party(), w.all[1].party(), w.all[2].party())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, planned{rec, docs})
	}
	return all
}

func (t *town) found(p planned) error {
	return t.run(func(l Ledger) error {
		rec := clone(p.rec)
		return Found(context.Background(), l, rec, p.docs, []Peer{t.all[1], t.all[2]}, func(Step, string) {})
	})
}

func (t *town) settle() error {
	return t.run(func(l Ledger) error {
		_, err := Settle(context.Background(), l, func(i int) (Peer, error) { return t.all[i+1], nil }, nil, func(Step, string) {})
		return err
	})
}

func (t *town) powerOn() {
	for _, m := range t.all {
		m.dead, m.wireCut = false, false
	}
}

// check is the invariant: all blank or all founded alike.
func (t *town) check(tt *testing.T, want []ident.UUID, what string) (founded bool) {
	tt.Helper()
	id := t.all[0].founded
	for _, m := range t.all {
		if m.founded != id || m.kept != nil || m.record != nil {
			tt.Fatalf("%s: member %d is founded %v, the founder %v; it keeps %v, record %v", what, m.i, m.founded, id, m.kept != nil, m.record != nil)
		}
	}
	if !id.IsZero() && !slices.Contains(want, id) {
		tt.Fatalf("%s: founded as %v", what, id)
	}
	return !id.IsZero()
}

func TestACutAnywhereLeavesAllBlankOrAllFounded(t *testing.T) {
	p := plans(t)
	ids := []ident.UUID{p[0].rec.Founding, p[1].rec.Founding}
	whole := newTown()
	if err := whole.found(p[0]); err != nil {
		t.Fatal(err)
	}
	if err := whole.settle(); err != nil {
		t.Fatal(err)
	}
	if !whole.check(t, ids, "no cut") {
		t.Fatal("without any cut nobody is founded")
	}
	blank, done := 0, 0
	for n := 1; n <= whole.steps; n++ {
		for second := n; second <= whole.steps+30; second++ { // n itself: one cut only
			w := newTown(n, second)
			what := fmt.Sprintf("cuts at %d and %d", n, second)
			first := w.found(p[0])
			for range 3 { // lives of the founder, until nothing more is cut
				w.powerOn()
				_ = w.settle()
			}
			w.powerOn()
			if err := w.settle(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if w.check(t, ids, what) {
				done++
				continue
			}
			if first == nil {
				t.Fatalf("%s: the founder was told that all went well, and all are blank", what)
			}
			blank++
			w.cut = nil
			if err := w.found(p[1]); err != nil { // the act can be repeated
				t.Fatalf("%s: again: %v", what, err)
			}
			if err := w.settle(); err != nil || !w.check(t, ids, what+", again") {
				t.Fatalf("%s: again: %v", what, err)
			}
		}
	}
	t.Logf("%d steps; %d runs ended blank and were repeated, %d founded", whole.steps, blank, done)
	if blank == 0 || done == 0 {
		t.Errorf("%d blank, %d founded: the cuts do not reach both sides of the decision", blank, done)
	}
}

// A member may hold what its founder has given up without telling it: the founder
// begins anew, and nobody else does.
func TestAPreparedMemberListensToItsFounderOnly(t *testing.T) {
	p := plans(t)
	w := newTown()
	twin := w.all[1]
	if err := twin.Keep(p[0].docs[0]); err != nil {
		t.Fatal(err)
	}
	o := Offer{Key: twin.pub(), About: twin.about(), Journal: twin}
	stranger := w.all[2].pub()
	prepare, _ := message(KindPrepare, p[1].docs[0])
	commit, _ := message(KindCommit, p[0].rec.Founding)
	other, _ := message(KindCommit, p[1].rec.Founding)
	abort, _ := message(KindAbort, p[0].rec.Founding)
	for _, tt := range []struct {
		name   string
		from   ed25519.PublicKey
		m      Message
		reason Reason
	}{
		{"a stranger commits", stranger, commit, Unknown},
		{"a commit of another founding", w.all[0].pub(), other, Unknown},
		{"a stranger prepares", stranger, prepare, BadDocument},
		{"nonsense", stranger, Message{Kind: 99}, BadMessage},
	} {
		var f Fault
		if a := o.Handle(tt.from, tt.m); a.Kind != KindRefused || a.read(&f) != nil || f.Reason != tt.reason {
			t.Errorf("%s: answer %d %s; want %s", tt.name, a.Kind, a.Body, tt.reason)
		}
	}
	if a := o.Handle(stranger, abort); a.Kind != KindForgotten || twin.kept == nil {
		t.Errorf("a stranger's abort: %d, kept %v", a.Kind, twin.kept != nil)
	}
	if a := o.Handle(w.all[0].pub(), prepare); a.Kind != KindPrepared || twin.kept.Founding != p[1].rec.Founding {
		t.Errorf("its founder begins anew: %d %s", a.Kind, a.Body)
	}
}
