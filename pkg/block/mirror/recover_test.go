package mirror_test

import (
	"log/slog"
	"slices"
	"testing"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/simdisk"
	"beffroi.dev/pkg/ident"
)

// recovered writes a log, one record a frame, and lists the blocks that a replica holds
// when it has read it.
func recovered(t *testing.T, records []*frame.Record) (blocks []uint64) {
	t.Helper()
	d := simdisk.New(seglog.MinSize)
	if err := seglog.Format(d, seglog.Identity{Pair: soloPair, Replica: ident.UUID{1}}, 1); err != nil {
		t.Fatal(err)
	}
	open := func(read func(*seglog.Log, *seglog.Recovery) error) *seglog.Log {
		l, rec, err := seglog.Open(d, soloPair, nil)
		if err == nil {
			err = read(l, rec)
		}
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open(func(_ *seglog.Log, rec *seglog.Recovery) error {
		return rec.Replay(func(seglog.Position, []*frame.Record) error { return nil })
	})
	for _, r := range records {
		l.Append(r)
		w := l.Next()
		if _, err := d.WriteAt(w.Buf, w.Off); err != nil {
			t.Fatal(err)
		}
		l.Done()
	}
	var core *mirror.Core
	open(func(l *seglog.Log, rec *seglog.Recovery) (err error) {
		core, err = mirror.Open(soloConfig(), l, rec, 1, slog.New(slog.DiscardHandler))
		return err
	})
	core.EachBlock(soloGroup, func(_ ident.Volume, lba, _ uint64, _ uint32) { blocks = append(blocks, lba) })
	slices.Sort(blocks)
	return blocks
}

// What a replica took for its own in life is its own when it has read its log again. The
// twin has heard that it holds these copies and sends them no more.
func TestCopiesThatCountedInLifeCountAfterARecovery(t *testing.T) {
	record := func(kind frame.Kind, seq ident.Seq, lba uint64) *frame.Record {
		r := &frame.Record{Kind: kind, Group: soloGroup, Epoch: 7, Seq: seq, Volume: soloVol}
		if kind.HasPayload() {
			r.LBA, r.Count, r.Data = lba, 1, make([]byte, disk.BlockSize)
		}
		return r
	}
	enter := func(epoch ident.Epoch, set ...ident.Node) *frame.Record {
		return &frame.Record{Kind: frame.Enter, Group: soloGroup, Epoch: epoch, Conf: &frame.Conf{Epoch: epoch, Primary: soloPeer, InSync: set, Lineage: 1}}
	}
	// A full copy at number 10 that is cut: block 0 was taken; write 11 was never
	// committed, and what is behind it was discarded and told.
	begun := []*frame.Record{
		enter(7, soloPeer), record(frame.Reset, 0, 0), record(frame.Start, 10, 0),
		record(frame.Copy, 10, 0), record(frame.Write, 11, 1), record(frame.Copy, 10, 2),
	}
	// It goes on at number 20, and the vote takes the replica in.
	goesOn := []*frame.Record{
		record(frame.Start, 20, 0), record(frame.Copy, 20, 2), enter(8, soloSelf, soloPeer),
	}
	for _, tc := range []struct {
		name    string
		between []*frame.Record
		want    []uint64
	}{
		{"the tail was discarded by a record of its own", []*frame.Record{record(frame.Truncate, 10, 0)}, []uint64{0, 2}},
		{"the stream that came next discarded the tail", nil, []uint64{0, 2}},
		{"all was to be copied again", []*frame.Record{record(frame.Truncate, 10, 0), record(frame.Reset, 0, 0)}, []uint64{2}},
	} {
		if got := recovered(t, slices.Concat(begun, tc.between, goesOn)); !slices.Equal(got, tc.want) {
			t.Errorf("%s: it holds blocks %v; want %v", tc.name, got, tc.want)
		}
	}
}
