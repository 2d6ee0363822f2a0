package layout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// ErrNoTable is returned for a disk that holds no readable table.
var ErrNoTable = errors.New("no partition table")

// ErrTooSmall is returned for a disk whose table was written for a larger one: the
// end of the image is not on it.
var ErrTooSmall = errors.New("this disk is too small for the image")

const (
	signature  = "EFI PART"
	revision   = 0x00010000
	headerSize = 92
)

var le = binary.LittleEndian

// Read reads the table of a disk of size bytes: the one at its start or, when that
// is damaged, the copy at its end.
func Read(r io.ReaderAt, size int64) (Table, error) {
	sectors := uint64(max(size, 0)) / Sector
	if sectors < firstUsable+entrySectors+2 {
		return Table{}, fmt.Errorf("%w: the disk has %d bytes", ErrNoTable, size)
	}
	t, err := readAt(r, 1, sectors)
	if err == nil {
		return t, nil
	}
	t, err2 := readAt(r, sectors-1, sectors)
	if err2 != nil {
		return Table{}, fmt.Errorf("%w: at the start: %w; at the end: %v", ErrNoTable, err, err2)
	}
	t.PrimaryLost = true
	return t, nil
}

// readAt reads the header in a sector and the entries it points to.
func readAt(r io.ReaderAt, at, sectors uint64) (Table, error) {
	h := make([]byte, Sector)
	if _, err := r.ReadAt(h, int64(at)*Sector); err != nil {
		return Table{}, err
	}
	entriesAt, err := checkHeader(h, at, sectors)
	if err != nil {
		return Table{}, err
	}
	entries := make([]byte, entryCount*entrySize)
	if _, err := r.ReadAt(entries, int64(entriesAt)*Sector); err != nil {
		return Table{}, err
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(h[88:]) {
		return Table{}, errors.New("the entries do not match their checksum")
	}
	t := Table{Sectors: max(le.Uint64(h[24:]), le.Uint64(h[32:])) + 1}
	copy(t.Disk[:], h[56:72])
	for i := range entryCount {
		if p, used := decodeEntry(entries[i*entrySize:][:entrySize]); used {
			p.Number = i + 1
			t.Partitions = append(t.Partitions, p)
		}
	}
	return t, t.check()
}

// checkHeader returns where a header's entries begin.
func checkHeader(h []byte, at, sectors uint64) (uint64, error) {
	if string(h[:8]) != signature || le.Uint32(h[8:]) != revision || le.Uint32(h[12:]) != headerSize {
		return 0, errors.New("no header")
	}
	sum := le.Uint32(h[16:])
	c := bytes.Clone(h[:headerSize])
	le.PutUint32(c[16:], 0)
	if crc32.ChecksumIEEE(c) != sum {
		return 0, errors.New("the header does not match its checksum")
	}
	self, other, entries := le.Uint64(h[24:]), le.Uint64(h[32:]), le.Uint64(h[72:])
	switch {
	case self != at:
		return 0, fmt.Errorf("the header belongs to sector %d", self)
	case max(self, other) >= sectors:
		return 0, fmt.Errorf("%w: it has %d MB of %d", ErrTooSmall, sectors*Sector>>20, (max(self, other)+1)*Sector>>20)
	case le.Uint32(h[80:]) != entryCount || le.Uint32(h[84:]) != entrySize:
		return 0, errors.New("an unusual number of entries")
	case entries < 2 || entries > sectors-entrySectors:
		return 0, fmt.Errorf("entries at sector %d", entries)
	}
	return entries, nil
}

func decodeEntry(e []byte) (Partition, bool) {
	var p Partition
	copy(p.Type[:], e[0:16])
	copy(p.ID[:], e[16:32])
	p.First, p.Last, p.Attributes = le.Uint64(e[32:]), le.Uint64(e[40:]), le.Uint64(e[48:])
	var name []uint16
	for i := 56; i < entrySize; i += 2 {
		c := le.Uint16(e[i:])
		if c == 0 {
			break
		}
		name = append(name, c)
	}
	p.Name = string(utf16.Decode(name))
	return p, p.Type != GUID{}
}

func encodeEntries(parts []Partition) ([]byte, error) {
	out := make([]byte, entryCount*entrySize)
	for _, p := range parts {
		name := utf16.Encode([]rune(p.Name))
		if p.Number < 1 || p.Number > entryCount || len(name) > 36 {
			return nil, fmt.Errorf("partition %d %q cannot be written", p.Number, p.Name)
		}
		e := out[(p.Number-1)*entrySize:][:entrySize]
		copy(e[0:], p.Type[:])
		copy(e[16:], p.ID[:])
		le.PutUint64(e[32:], p.First)
		le.PutUint64(e[40:], p.Last)
		le.PutUint64(e[48:], p.Attributes)
		for i, c := range name {
			le.PutUint16(e[56+2*i:], c)
		}
	}
	return out, nil
}

// encodeHeader is the header in sector at, whose copy lies in sector other.
func (t Table) encodeHeader(at, other, entriesAt uint64, entries []byte) []byte {
	h := make([]byte, Sector)
	copy(h, signature)
	le.PutUint32(h[8:], revision)
	le.PutUint32(h[12:], headerSize)
	le.PutUint64(h[24:], at)
	le.PutUint64(h[32:], other)
	le.PutUint64(h[40:], firstUsable)
	le.PutUint64(h[48:], lastUsable(t.Sectors))
	copy(h[56:], t.Disk[:])
	le.PutUint64(h[72:], entriesAt)
	le.PutUint32(h[80:], entryCount)
	le.PutUint32(h[84:], entrySize)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:headerSize]))
	return h
}

// protective is the old kind of table, which tells old programs that the disk is
// not empty.
func (t Table) protective() []byte {
	b := make([]byte, Sector)
	e := b[446:]
	copy(e, []byte{0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff})
	le.PutUint32(e[8:], 1)
	le.PutUint32(e[12:], uint32(min(t.Sectors-1, 0xffffffff)))
	b[510], b[511] = 0x55, 0xaa
	return b
}
