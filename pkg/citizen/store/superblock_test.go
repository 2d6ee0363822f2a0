package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func sample() superblock {
	return superblock{
		Generation: 4, Identity: ident.UUID{1, 2, 3}, Owner: ident.UUID{9}, Device: 1 << 26,
		LogOffset: 8192, LogCap: 1 << 22, LogSize: 1 << 18, PoolOffset: 8192 + 1<<22, PoolLen: 1 << 25, Database: 20 << 12,
	}
}

func TestTheSuperblockKeepsItsBytes(t *testing.T) {
	s := sample()
	got := s.encode()[:slotBytes]
	path := filepath.Join("testdata", "superblock-v1.bin")
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("encoding changed: a new format needs a new version")
	}
	back, err := decodeSuperblock(want)
	if err != nil || back != s {
		t.Errorf("decode = %+v, %v; want %+v", back, err, s)
	}
}

// pair makes the two blocks at the start of a volume.
func pair(a, b []byte) []byte {
	out := make([]byte, slotCount*disk.BlockSize)
	copy(out, a)
	copy(out[disk.BlockSize:], b)
	return out
}

func reseal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[sumOffset:], crc32.Checksum(b[:sumOffset], castagnoli))
	return b
}

func TestChoosingASuperblock(t *testing.T) {
	older, newer := sample(), sample()
	newer.Generation++
	newer.Database += disk.BlockSize
	future := older.encode()
	binary.LittleEndian.PutUint32(future[8:], formatVersion+1)
	reseal(future)
	bent := sample()
	bent.Database = bent.PoolLen + disk.BlockSize
	torn := newer.encode()
	torn[100] ^= 1
	for _, tc := range []struct {
		name string
		in   []byte
		gen  uint64
		err  error
	}{
		{"the newest sound slot is used", pair(older.encode(), newer.encode()), 5, nil},
		{"a torn slot leaves the other", pair(older.encode(), torn), 4, nil},
		{"a blank slot leaves the other", pair(older.encode(), nil), 4, nil},
		{"a slot in the wrong place is not believed", pair(nil, older.encode()), 0, ErrDamaged},
		{"all zero is not formatted", pair(nil, nil), 0, ErrBlank},
		{"something else is foreign", pair([]byte("NTFS    "), []byte("something")), 0, ErrForeign},
		{"a newer version beside an old one is newer", pair(future, newer.encode()), 0, ErrNewer},
		{"both torn is damaged", pair(torn, torn), 0, ErrDamaged},
		{"impossible sizes are damage", pair(bent.encode(), nil), 0, ErrDamaged},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := chooseSuperblock(tc.in)
			if !errors.Is(err, tc.err) || got.Generation != tc.gen {
				t.Errorf("got generation %d, %v; want %d, %v", got.Generation, err, tc.gen, tc.err)
			}
		})
	}
}

func FuzzChooseSuperblock(f *testing.F) {
	s := sample()
	f.Add(pair(s.encode(), nil), true)
	f.Add(pair(nil, nil), false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		in := pair(b, nil)
		if seal {
			reseal(in)
		}
		got, err := chooseSuperblock(in)
		if err != nil {
			return
		}
		if got.PoolOffset+got.PoolLen > got.Device || got.Database > got.PoolLen || got.LogSize > got.LogCap {
			t.Fatalf("accepted impossible sizes: %+v", got)
		}
	})
}

func TestSpaceNeverOverlapsWhateverIsAskedOfIt(t *testing.T) {
	s := &space{len: 64 * disk.BlockSize}
	var held []extent
	next := uint64(1)
	for range 20000 {
		next = next*6364136223846793005 + 1442695040888963407
		switch r := next >> 33; {
		case r%3 == 0 && len(held) > 0:
			i := int(r/3) % len(held)
			s.free(held[i])
			held = append(held[:i], held[i+1:]...)
		case r%97 == 1:
			s.promise(int64(r/97%8) * disk.BlockSize)
		default:
			if e, err := s.alloc(int64(r % (9 * disk.BlockSize))); err == nil {
				held = append(held, e)
			}
		}
		for i, e := range s.used {
			if e.off < s.limit || e.end() > s.len || i > 0 && s.used[i-1].end() > e.off {
				t.Fatalf("ranges %v with the limit at %d", s.used, s.limit)
			}
		}
		if len(held) != len(s.used) {
			t.Fatalf("%d ranges held, %d recorded", len(held), len(s.used))
		}
	}
	if _, err := s.alloc(s.len); !errors.Is(err, disk.ErrNoSpace) {
		t.Errorf("too large a file: %v; want no space", err)
	}
	if err := s.take(extent{s.len, disk.BlockSize}); !errors.Is(err, ErrDamaged) {
		t.Errorf("range outside the pool: %v; want damage", err)
	}
}
