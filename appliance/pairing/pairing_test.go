package pairing

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

func TestACodeIsReadAsAPersonTypesIt(t *testing.T) {
	for range 200 {
		c := NewCode()
		for _, typed := range []string{c.String(), strings.ToLower(c.String()), string(c), " " + strings.ReplaceAll(c.String(), "-", " ")} {
			if got, err := ParseCode(typed); err != nil || got != c {
				t.Fatalf("%q: %v, %v; want %v", typed, got, err, c)
			}
		}
		for i := range codeLength { // every wrong character, every exchange of neighbours
			for _, r := range alphabet {
				if b := []byte(c); b[i] != byte(r) {
					b[i] = byte(r)
					wrong(t, string(b), CodeTyped)
				}
			}
			if b := []byte(c); i < codeLength-2 && b[i] != b[i+1] {
				b[i], b[i+1] = b[i+1], b[i]
				wrong(t, string(b), CodeTyped)
			}
		}
	}
	wrong(t, "", CodeLength)
	wrong(t, "ABCD-EFG", CodeLength)
	wrong(t, strings.Repeat("A", 1000), CodeLength)
	wrong(t, "ABCD-EFG0", CodeCharacter)
	wrong(t, "ÀBCD-EFGH", CodeCharacter)
}

func wrong(t *testing.T, typed string, want Reason) {
	t.Helper()
	var f *Fault
	if c, err := ParseCode(typed); !errors.As(err, &f) || f.Reason != want {
		t.Fatalf("%q: %v, %v; want %s", typed, c, err, want)
	}
}

func TestOnlyTheSameCodeAndTheSameMeetingAgree(t *testing.T) {
	one := meeting{channel: []byte("c"), founder: []byte("f"), member: []byte("m")}
	for _, tt := range []struct {
		name string
		code Code
		at   meeting
		want bool
	}{
		{"the same", "ABCDEFGH", one, true},
		{"another code", "ABCDEFGJ", one, false},
		{"another channel: a man in the middle", "ABCDEFGH", meeting{[]byte("d"), one.founder, one.member}, false},
		{"another founder", "ABCDEFGH", meeting{one.channel, []byte("g"), one.member}, false},
		{"another member", "ABCDEFGH", meeting{one.channel, one.founder, []byte("n")}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := newExchange("ABCDEFGH", one)
			if err != nil {
				t.Fatal(err)
			}
			b, err := newExchange(tt.code, tt.at)
			if err != nil {
				t.Fatal(err)
			}
			fa, ma, err := a.proofs(a.Share, b.Share, b.Share)
			if err != nil {
				t.Fatal(err)
			}
			fb, mb, err := b.proofs(a.Share, b.Share, a.Share)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(fa, fb) != tt.want || bytes.Equal(ma, mb) != tt.want {
				t.Errorf("proofs agree: %v, %v; want %v", bytes.Equal(fa, fb), bytes.Equal(ma, mb), tt.want)
			}
			if bytes.Equal(fa, ma) {
				t.Error("one side could send the other's proof back")
			}
		})
	}
	e, _ := newExchange("ABCDEFGH", one)
	for name, share := range map[string][]byte{"nothing": nil, "the neutral element": make([]byte, pointSize), "no point": bytes.Repeat([]byte{0xff}, pointSize), "too long": append(bytes.Clone(e.Share), 0)} {
		if _, _, err := e.proofs(e.Share, share, share); err == nil {
			t.Errorf("%s: taken as a share", name)
		}
	}
}

func TestGoldenBytes(t *testing.T) {
	m := Message{Kind: KindPrepared, Body: []byte("{}")}
	if got := string(m.Append(nil)); got != "\x00\x01\x00\x08\x00\x00\x00\x02{}" {
		t.Errorf("message: %q", got)
	}
	b := Beacon{Kind: cluster.KindWitness, Bound: true, Port: 7100, Tag: "AB", Who: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}
	if got := string(b.Append(nil)); got != "BFFP\x00\x01\x02\x01\x1b\xbcAB\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\x00" {
		t.Errorf("beacon: %q", got)
	}
	if got, ok := ParseBeacon(b.Append(nil)); !ok || got != b {
		t.Errorf("beacon read back: %+v, %v", got, ok)
	}
	newer := m.Append(nil)
	newer[1] = 2
	if _, err := ReadMessage(bytes.NewReader(newer)); AsFault(err, BadMessage).Reason != OtherVersion {
		t.Errorf("a newer version: %v", err)
	}
	long := m.Append(nil)
	long[4] = 1
	if _, err := ReadMessage(bytes.NewReader(long)); AsFault(err, Disk).Reason != BadMessage {
		t.Errorf("a length of 16 MiB: %v", err)
	}
}

func TestAPlanIsOnePair(t *testing.T) {
	w := newTown()
	witness := w.all[2].party()
	rec, docs, secrets, err := MakePlan(request, w.all[0].party(), w.all[1].party(), witness)
	if err != nil {
		t.Fatal(err)
	}
	all := append([]*Document{rec.Mine}, docs...)
	for i, d := range all {
		if d.Node.Pair != rec.Mine.Node.Pair || d.Founding != rec.Founding {
			t.Errorf("member %d: another pair or founding", i)
		}
		g, h := d.Node.Genesis(), rec.Mine.Node.Genesis()
		for id, n := range h.Nodes {
			if g.Nodes[id].Replica != n.Replica || g.Nodes[id].Site != n.Site || !bytes.Equal(g.Nodes[id].PublicKey, n.PublicKey) {
				t.Errorf("member %d: another genesis for %v", i, id)
			}
		}
		if err := d.seed(w.all[i].key).Validate(); err != nil {
			t.Errorf("member %d: %v", i, err)
		}
		for _, c := range []interface{ Validate() error }{ptr(d.Node.VoteTransport(w.all[i].key)), ptr(d.Node.DataTransport(w.all[i].key))}[:2-i/2] {
			if err := c.Validate(); err != nil {
				t.Errorf("member %d: transport: %v", i, err)
			}
		}
		if i < 2 && d.Node.Members[2].VotePaths[0].Addr != witness.Addresses[0] {
			t.Errorf("member %d looks for the witness at %s", i, d.Node.Members[2].VotePaths[0].Addr)
		}
		if i < 2 && d.Node.Self > rec.Mine.Node.Members[2].ID {
			t.Errorf("member %d does not dial the witness", i)
		}
	}
	if docs[1].Password != "" || docs[1].Token != "" || docs[1].Rescue != "" {
		t.Error("the witness has the administrator's secrets")
	}
	if rec.Mine.Password != docs[0].Password || rec.Mine.Password != secrets.Password+"\n" || len(secrets.Password) != 19 || len(secrets.Rescue) != 14 {
		t.Errorf("secrets: %+v", secrets)
	}
}

func ptr[T any](v T) *T { return &v }

func TestWhatCannotBeAPairIsRefused(t *testing.T) {
	w := newTown()
	change := func(p Party, f func(*Party)) Party { f(&p); return p }
	f, tw, wi := w.all[0].party(), w.all[1].party(), w.all[2].party()
	for _, tt := range []struct {
		name          string
		founder, twin Party
		witness       Party
		request       Request
		reason        Reason
		detail        string
	}{
		{name: "one identity twice", founder: f, twin: change(tw, func(p *Party) { p.Key = f.Key }), witness: wi, request: request, reason: SameIdentity},
		{name: "one replica twice", founder: f, twin: change(tw, func(p *Party) { p.About.Replica = f.About.Replica }), witness: wi, request: request, reason: SameIdentity},
		{name: "two witnesses", founder: f, twin: wi, witness: change(wi, func(p *Party) { p.Key = tw.Key }), request: request, reason: WrongKind},
		{name: "another release", founder: f, twin: change(tw, func(p *Party) { p.About.Release = "2" }), witness: wi, request: request, reason: OtherRelease},
		{name: "a store that is taken", founder: f, twin: change(tw, func(p *Party) { p.About.Taken = fault(StoreTaken, "/dev/vda4") }), witness: wi, request: request, reason: StoreTaken},
		{name: "one card only", founder: f, twin: change(tw, func(p *Party) { p.About.Fibres = nil }), witness: wi, request: request, reason: NoFibre},
		{name: "no town", founder: f, twin: tw, witness: wi, request: Request{Here: "a", There: "b", Service: request.Service, Profile: "production"}, reason: BadRequest, detail: "town"},
		{name: "one site", founder: f, twin: tw, witness: wi, request: Request{Town: "x", Here: "a", There: "A", Service: request.Service, Profile: "production"}, reason: BadRequest, detail: "sites"},
		{name: "the network's own address", founder: f, twin: tw, witness: wi, request: Request{Town: "x", Here: "a", There: "b", Service: netip.MustParsePrefix("10.0.0.0/24"), Profile: "production"}, reason: BadRequest, detail: "service"},
		{name: "a lan without an address", founder: f, twin: change(tw, func(p *Party) { p.About.Lan = netcfg.Lan{Mode: "x"} }), witness: wi, request: request, reason: BadDocument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, _, err := MakePlan(tt.request, tt.founder, tt.twin, tt.witness)
			if got := AsFault(err, Disk); err == nil || got.Reason != tt.reason || tt.detail != "" && got.Detail != tt.detail {
				t.Errorf("%v; want %s %s", err, tt.reason, tt.detail)
			}
		})
	}
}

func FuzzMessage(f *testing.F) {
	p, _ := message(KindPrepare, &Document{Founding: ident.UUID{1}})
	f.Add(p.Append(nil))
	f.Add(Message{Kind: KindCommit, Body: []byte(`"00"`)}.Append(nil))
	f.Add([]byte("BFFP\x00\x01\x01\x00\x1b\xbcAB\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\x00"))
	w := newTown()
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = ParseCode(string(b))
		if c, ok := ParseBeacon(b); ok && len(c.Tag) != tagLength {
			t.Fatal("a beacon with a strange tag")
		}
		m, err := ReadMessage(bytes.NewReader(b))
		if err != nil {
			return
		}
		twin := w.all[1]
		o := Offer{Key: twin.pub(), About: twin.about(), Journal: twin}
		o.Handle(w.all[0].pub(), m)
		if twin.kept != nil && twin.kept.Validate(twin.pub()) != nil || !twin.founded.IsZero() {
			t.Fatal("a document that is not valid was kept")
		}
	})
}
