package frame_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// sample is one record of each kind.
func sample() []*frame.Record {
	block := bytes.Repeat([]byte{0xab}, disk.BlockSize)
	conf := &frame.Conf{Epoch: 4, Primary: 1, InSync: []ident.Node{1, 2}, CutEpoch: 3, CutSeq: 17, Lineage: 1}
	return []*frame.Record{
		{Kind: frame.Write, Group: 1, Epoch: 3, Seq: 16, Volume: 2, LBA: 5, Count: 1, Data: block},
		{Kind: frame.Unmap, Group: 1, Epoch: 3, Seq: 17, Volume: 2, LBA: 9, Count: 1000},
		{Kind: frame.Copy, Group: 1, Epoch: 3, Seq: 15, Volume: 2, LBA: 7, Count: 1, Data: block},
		{Kind: frame.CopyUnmap, Group: 1, Epoch: 3, Seq: 15, Volume: 2, LBA: 8, Count: 2},
		{Kind: frame.Enter, Group: 1, Epoch: 4, Seq: 17, Conf: conf, Base: 12},
		{Kind: frame.Commit, Group: 1, Epoch: 4, Seq: 17},
		{Kind: frame.Truncate, Group: 1, Epoch: 4, Seq: 15},
		{Kind: frame.Start, Group: 1, Epoch: 4, Seq: 20},
		{Kind: frame.Reset, Group: 1, Epoch: 4},
		{Kind: frame.Drop, Group: 1},
	}
}

func build(records []*frame.Record) []byte {
	for _, r := range records {
		r.Seal()
	}
	b, _ := frame.Build(nil, 0x1122334455667788, 9, 0xdeadbeef, records, 100)
	return b
}

// TestTheBytesOfAFrame pins the format: FORMAT.md of the log describes it, and
// stores in the field hold it.
func TestTheBytesOfAFrame(t *testing.T) {
	got := hex.Dump(build(sample())[:disk.BlockSize])
	path := filepath.Join("testdata", "frame-v1.hex")
	if os.Getenv("REWRITE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("frame changed (-want +got):\n%s", diff)
	}
}

func TestAFrameIsReadBackAsItWasBuilt(t *testing.T) {
	want := sample()
	b := build(want)
	h, got, err := frame.Parse(b, 100)
	if err != nil {
		t.Fatal(err)
	}
	if h.LSN != 9 || h.Salt != 0x1122334455667788 || h.Prev != 0xdeadbeef || h.Blocks()*disk.BlockSize != len(b) {
		t.Errorf("header %+v", h)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestEveryFlippedBitOfAFrameIsNoticed(t *testing.T) {
	b := build(sample())
	for i := 0; i < len(b); i += 7 {
		b[i] ^= 1 << (i % 8)
		if _, _, err := frame.Parse(b, 100); err == nil {
			t.Errorf("bit flipped in byte %d: the frame was accepted", i)
		}
		b[i] ^= 1 << (i % 8)
	}
}

func TestABlockInTheWrongPlaceDoesNotMatch(t *testing.T) {
	block := bytes.Repeat([]byte{1}, disk.BlockSize)
	here := frame.Sum(1, 7, block)
	for _, other := range []uint32{frame.Sum(1, 8, block), frame.Sum(2, 7, block)} {
		if other == here {
			t.Error("two addresses give one checksum")
		}
	}
}

func TestANewerFrameIsNotGuessedAt(t *testing.T) {
	b := build(sample())
	b[8] = frame.Version + 1
	if _, _, err := frame.Parse(b, 100); !errors.Is(err, frame.ErrVersion) {
		t.Errorf("Parse = %v; want ErrVersion", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(build(sample()))
	f.Add(build(sample()[:1])[:disk.BlockSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, records, err := frame.Parse(b, 1)
		if err == nil && (len(records) != h.Records || h.Blocks()*disk.BlockSize > len(b)) {
			t.Errorf("accepted a frame that does not hold what it claims: %+v of %d bytes", h, len(b))
		}
	})
}

func FuzzParseTable(f *testing.F) {
	for _, r := range sample() {
		r.Seal()
		f.Add(r.AppendTable(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rest, err := frame.ParseTable(b)
		if err != nil {
			return
		}
		used := b[:len(b)-len(rest)]
		if r.Size() != len(used) {
			t.Errorf("%v took %d bytes and says its size is %d", r.Kind, len(used), r.Size())
		}
	})
}
