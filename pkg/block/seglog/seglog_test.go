package seglog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/simdisk"
	"beffroi.dev/pkg/ident"
)

var (
	pair = ident.UUID{1}
	self = seglog.Identity{Pair: pair, Replica: ident.UUID{2}}
)

func formatted(t *testing.T) *simdisk.Disk {
	t.Helper()
	d := simdisk.New(seglog.MinSize)
	if err := seglog.Format(d, self, 77); err != nil {
		t.Fatal(err)
	}
	return d
}

// open recovers a store and returns the records of its log.
func open(t *testing.T, d disk.Device) (*seglog.Log, []*frame.Record) {
	t.Helper()
	l, rec, err := seglog.Open(d, pair, nil)
	if err != nil {
		t.Fatal(err)
	}
	var all []*frame.Record
	if err := rec.Replay(func(_ seglog.Position, r []*frame.Record) error { all = append(all, r...); return nil }); err != nil {
		t.Fatal(err)
	}
	return l, all
}

// flush writes all that is queued.
func flush(t *testing.T, l *seglog.Log, d disk.Device) {
	t.Helper()
	for w := l.Next(); w != nil; w = l.Next() {
		if _, err := d.WriteAt(w.Buf, w.Off); err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		l.Done()
	}
}

func write(seq ident.Seq) *frame.Record {
	data := make([]byte, disk.BlockSize)
	binary.LittleEndian.PutUint64(data, uint64(seq))
	return &frame.Record{Kind: frame.Write, Group: 1, Epoch: 1, Seq: seq, Volume: 1, LBA: uint64(seq) % 64, Count: 1, Data: data}
}

func TestWhatIsQueuedWhileAFrameIsInFlightSharesTheNext(t *testing.T) {
	d := formatted(t)
	l, _ := open(t, d)
	l.Append(write(1))
	first := l.Next()
	if first == nil || len(first.Records) != 1 {
		t.Fatalf("first frame: %v", first)
	}
	for seq := ident.Seq(2); seq <= 20; seq++ {
		l.Append(write(seq))
	}
	if l.Next() != nil {
		t.Fatal("a second frame was built while one is in flight")
	}
	l.Done()
	if second := l.Next(); second == nil || len(second.Records) != 19 {
		t.Fatalf("second frame does not hold the 19 records that waited")
	}
}

func TestTheLogIsReadBackInOrder(t *testing.T) {
	d := formatted(t)
	l, _ := open(t, d)
	rng := rand.New(rand.NewPCG(1, 1))
	last := ident.Seq(0)
	for range 300 {
		for range 1 + rng.IntN(9) {
			last++
			l.Append(write(last))
		}
		flush(t, l, d)
	}
	_, records := open(t, d)
	if len(records) != int(last) {
		t.Fatalf("%d records; want %d", len(records), last)
	}
	for i, r := range records {
		if r.Seq != ident.Seq(i+1) || binary.LittleEndian.Uint64(r.Data) != uint64(r.Seq) {
			t.Fatalf("record %d has number %d", i+1, r.Seq)
		}
	}
}

// device counts reads, and has a bad block.
type device struct {
	disk.Device
	reads int
	bad   int64 // 0: none
}

var errBad = errors.New("bad block")

func (d *device) ReadAt(b []byte, off int64) (int, error) {
	d.reads++
	if d.bad > 0 && off <= d.bad && d.bad < off+int64(len(b)) {
		return 0, errBad
	}
	return d.Device.ReadAt(b, off)
}

func TestRecoveryReadsManyFramesAtATimeAndSaysHowFarItIs(t *testing.T) {
	const frames = 500
	d := &device{Device: formatted(t)}
	l, _ := open(t, d.Device)
	for i := range frames {
		l.Append(write(ident.Seq(i + 1)))
		flush(t, l, d.Device)
	}
	var told []int64
	_, rec, err := seglog.Open(d, pair, func(bytes int64) { told = append(told, bytes) })
	if err != nil {
		t.Fatal(err)
	}
	opened, found := d.reads, 0
	if err := rec.Replay(func(_ seglog.Position, r []*frame.Record) error { found += len(r); return nil }); err != nil {
		t.Fatal(err)
	}
	if found != frames || d.reads-opened > 12 { // some 4 MB
		t.Errorf("%d records of %d frames in %d reads", found, frames, d.reads-opened)
	}
	if len(told) < 2 || !slices.IsSorted(told) || told[len(told)-1] < frames*2*disk.BlockSize {
		t.Errorf("told of %v bytes", told)
	}
}

// A block that cannot be read hurts whoever needs it, and no frame before it.
func TestReadingAheadMeetsABadBlock(t *testing.T) {
	d := &device{Device: formatted(t)}
	l, _ := open(t, d.Device)
	var ends []int64
	for i := range 20 {
		l.Append(write(ident.Seq(i + 1)))
		w := l.Next()
		if _, err := d.WriteAt(w.Buf, w.Off); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, w.Off)
		l.Done()
	}
	d.bad = ends[10]
	_, rec, err := seglog.Open(d, pair, nil)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	err = rec.Replay(func(_ seglog.Position, r []*frame.Record) error { found += len(r); return nil })
	if !errors.Is(err, errBad) || found != 10 {
		t.Errorf("%d records, %v; want 10, then the bad block", found, err)
	}
}

func TestStoresThatAreNotOursAreRefusedAndLeftUntouched(t *testing.T) {
	superblock := func(d *simdisk.Disk, change func(b []byte)) {
		b := make([]byte, 2*disk.BlockSize)
		_, _ = d.ReadAt(b, 0)
		for i := 0; i < len(b); i += disk.BlockSize {
			if bytes.HasPrefix(b[i:], []byte("BFRSTORE")) {
				change(b[i : i+disk.BlockSize])
			}
		}
		_, _ = d.WriteAt(b, 0)
		_ = d.Sync()
	}
	seal := func(b []byte) {
		clear(b[12:16])
		binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	for _, tc := range []struct {
		name  string
		spoil func(d *simdisk.Disk)
		want  error
	}{
		{"blank", func(d *simdisk.Disk) { superblock(d, func(b []byte) { clear(b) }) }, seglog.ErrBlank},
		{"another pair's", func(d *simdisk.Disk) { superblock(d, func(b []byte) { b[24] = 99; seal(b) }) }, seglog.ErrForeign},
		{"a newer format", func(d *simdisk.Disk) { superblock(d, func(b []byte) { b[8] = seglog.Version + 1; seal(b) }) }, seglog.ErrNewer},
		{"torn superblock", func(d *simdisk.Disk) { superblock(d, func(b []byte) { b[80] ^= 1 }) }, seglog.ErrTorn},
		{"something else", func(d *simdisk.Disk) { superblock(d, func(b []byte) { copy(b, "PARTITION") }) }, seglog.ErrTorn},
		{"a file system whose mark lies further on", func(d *simdisk.Disk) {
			clear := make([]byte, 1<<20)
			copy(clear[64<<10+64:], "_BHRfS_M")
			_, _ = d.WriteAt(clear, 0)
		}, seglog.ErrOther},
		{"a store of a larger device", func(d *simdisk.Disk) {
			superblock(d, func(b []byte) { binary.LittleEndian.PutUint64(b[80:], 1<<19); seal(b) })
		}, seglog.ErrTorn},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := formatted(t)
			tc.spoil(d)
			before := make([]byte, 1<<20)
			_, _ = d.ReadAt(before, 0)
			if _, _, err := seglog.Open(d, pair, nil); !errors.Is(err, tc.want) {
				t.Errorf("Open = %v; want %v", err, tc.want)
			}
			if tc.want != seglog.ErrBlank {
				if err := seglog.Format(d, self, 1); err == nil {
					t.Error("Format took the device")
				}
				after := make([]byte, 1<<20)
				_, _ = d.ReadAt(after, 0)
				if !bytes.Equal(before, after) {
					t.Error("the device was changed")
				}
			}
		})
	}
}

func TestADeviceTooSmallIsRefusedWithTheSizeNeeded(t *testing.T) {
	if err := seglog.Format(simdisk.New(seglog.MinSize-1), self, 1); !errors.Is(err, seglog.ErrTooSmall) {
		t.Errorf("Format = %v; want ErrTooSmall", err)
	}
}

func TestSegmentsComeBackWhenNobodyNeedsThem(t *testing.T) {
	d := formatted(t)
	l, _ := open(t, d)
	capacity := l.Capacity()
	written, seq := uint64(0), ident.Seq(0)
	for written < 3*capacity { // three times round the device
		for range 64 {
			seq++
			l.Append(write(seq))
		}
		w := l.Next()
		if w == nil {
			t.Fatalf("no room after %d blocks, although all older ones were released", written)
		}
		if _, err := d.WriteAt(w.Buf, w.Off); err != nil {
			t.Fatal(err)
		}
		written += uint64(len(w.Buf)) / disk.BlockSize
		for _, r := range w.Records {
			l.Release(r.Loc)
		}
		l.Done()
		if l.Free() < capacity/2 {
			c := l.BeginCheckpoint(l.NextPosition())
			if err := c.Write(d, func(w io.Writer) error { _, err := w.Write([]byte("state")); return err }); err != nil {
				t.Fatal(err)
			}
			l.FinishCheckpoint(c)
		}
	}
	// After a restart the log goes on from the checkpoint, and old laps stay dead.
	_ = d.Sync()
	_, rec, err := seglog.Open(d, pair, nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(rec.State) != "state" {
		t.Errorf("state %q", rec.State)
	}
	next := uint64(0)
	if err := rec.Replay(func(at seglog.Position, _ []*frame.Record) error {
		if next != 0 && at.LSN != next {
			t.Fatalf("frame %d after %d", at.LSN, next-1)
		}
		next = at.LSN + 1
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// A service may have ended between its write and its sync. What the next one reads then
// lies in the disk's cache, and it would take it for durable.
func TestWhatOpenReadsIsDurable(t *testing.T) {
	d := formatted(t)
	l, _ := open(t, d)
	l.Append(write(1))
	w := l.Next()
	if _, err := d.WriteAt(w.Buf, w.Off); err != nil {
		t.Fatal(err)
	}
	if _, records := open(t, d); len(records) != 1 {
		t.Fatalf("%d records in the cache; want the one", len(records))
	}
	if _, records := open(t, d.Clone()); len(records) != 1 { // the power goes, and the whole cache with it
		t.Errorf("%d records after a power cut; the one that was read had counted", len(records))
	}
}
