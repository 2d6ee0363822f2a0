package mirror

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

var unexported = cmp.AllowUnexported(lead{}, follow{}, beat{}, invite{}, join{}, stream{}, forward{}, reply{}, epochStart{}, blockRange{}, fetch{}, fetched{})

func joinParts(parts [][]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func sampleBeat() beat {
	r := &frame.Record{Kind: frame.Write, Group: 1, Epoch: 2, Seq: 3, Volume: 4, LBA: 5, Count: 1, Data: make([]byte, disk.BlockSize)}
	r.Seal()
	return beat{
		leads:   []lead{{group: 1, epoch: 2, attempt: 3, commit: 4, sent: 5}},
		follows: []follow{{group: 2, epoch: 3, attempt: 4, pos: 5, seq: 6, echo: 7, free: 8}},
		records: []*frame.Record{r, {Kind: frame.CopyUnmap, Group: 1, Epoch: 2, Seq: 3, Volume: 4, LBA: 9, Count: 2}},
	}
}

func TestMessagesAreReadAsTheyWereWritten(t *testing.T) {
	check := func(name string, want, got any, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got, unexported); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	b, err := parseBeat(joinParts(beatParts(sampleBeat()))[1:])
	check("beat", sampleBeat(), b, err)
	inv := invite{group: 1, attempt: 2, conf: frame.Conf{Epoch: 3, Primary: 4, InSync: []ident.Node{4, 5}, CutEpoch: 2, CutSeq: 9, Lineage: 1}}
	gotInv, err := parseInvite(inv.encode()[1:])
	check("invite", inv, gotInv, err)
	j := join{group: 1, epoch: 2, attempt: 3, watermark: 4, last: 5, history: []epochStart{{1, 1}, {2, 4}}, discarded: []blockRange{{1, 2, 3}}}
	gotJoin, err := parseJoin(j.encode()[1:])
	check("join", j, gotJoin, err)
	s := stream{group: 1, epoch: 2, attempt: 3, keep: 4, start: 5, startEpoch: 2, member: true, reset: true}
	gotStream, err := parseStream(s.encode()[1:])
	check("stream", s, gotStream, err)
	f := forward{id: 1, group: 2, epoch: 3, volume: 4, token: 5, op: disk.Write, flags: disk.FUA, off: 6, n: 3, data: []byte("abc")}
	gotForward, err := parseForward(joinParts(f.parts())[1:])
	check("forward", f, gotForward, err)
	q := fetch{id: 1, group: 2, volume: 3, lba: 4, sum: 5}
	gotFetch, err := parseFetch(q.encode()[1:])
	check("fetch", q, gotFetch, err)
	a := fetched{id: 1, data: []byte("z")}
	gotFetched, err := parseFetched(joinParts(a.parts())[1:])
	check("fetched", a, gotFetched, err)
	r := reply{id: 1, code: replyNoSpace, extents: []disk.Extent{{Len: 9, Hole: true}}, data: []byte("xy")}
	gotReply, err := parseReply(joinParts(r.parts())[1:])
	check("reply", r, gotReply, err)
}

func TestWhereTwoHistoriesPart(t *testing.T) {
	h := func(pairs ...uint64) (out []epochStart) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, epochStart{ident.Epoch(pairs[i]), ident.Seq(pairs[i+1])})
		}
		return out
	}
	for _, tc := range []struct {
		name         string
		a            []epochStart
		lastA        ident.Seq
		b            []epochStart
		lastB, floor ident.Seq
		want         ident.Seq
	}{
		{"one is shorter", h(1, 1), 100, h(1, 1), 90, 50, 90},
		{"the other is longer", h(1, 1), 100, h(1, 1), 120, 50, 100},
		{"a tail of the same epoch that the primary never had", h(1, 1, 3, 101), 110, h(1, 1), 105, 50, 100},
		{"two tails after one point", h(1, 1, 3, 101), 110, h(1, 1, 2, 101), 105, 50, 100},
		{"parted twice", h(1, 1, 4, 90), 110, h(1, 1, 2, 95, 3, 100), 105, 50, 89},
		{"never below what is committed", h(1, 1, 4, 40), 110, h(1, 1, 2, 41), 105, 45, 45},
		{"nothing yet", nil, 0, nil, 0, 0, 0},
	} {
		if got := common(tc.a, tc.lastA, tc.b, tc.lastB, tc.floor); got != tc.want {
			t.Errorf("%s: %d; want %d", tc.name, got, tc.want)
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(joinParts(beatParts(sampleBeat())))
	f.Add(invite{group: 1, conf: frame.Conf{Epoch: 1, InSync: []ident.Node{1}}}.encode())
	f.Add(join{history: []epochStart{{1, 1}}, discarded: []blockRange{{1, 2, 3}}}.encode())
	f.Add(stream{}.encode())
	f.Add(joinParts(forward{op: disk.Write, n: 1, data: []byte{1}}.parts()))
	f.Add(joinParts(reply{extents: []disk.Extent{{Len: 1}}}.parts()))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) == 0 {
			return
		}
		_, _ = parseBeat(msg[1:])
		_, _ = parseInvite(msg[1:])
		_, _ = parseJoin(msg[1:])
		_, _ = parseStream(msg[1:])
		if m, err := parseForward(msg[1:]); err == nil && m.op == disk.Read && m.n > maxForward {
			t.Error("a forwarded read of any size is taken")
		}
		_, _ = parseReply(msg[1:])
		_, _ = parseFetch(msg[1:])
		_, _ = parseFetched(msg[1:])
	})
}
