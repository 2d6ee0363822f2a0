package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

const (
	formatVersion = 1
	slotBytes     = 512 // the part of a superblock that holds fields
	slotCount     = 2
	sumOffset     = slotBytes - 4
)

var magic = [8]byte{'B', 'F', 'R', 'C', 'I', 'T', 'Z', 'N'}

var (
	// ErrBlank is returned by Open for a volume that was never formatted.
	ErrBlank = errors.New("volume is not formatted")
	// ErrNotBlank is returned by Format for a volume that holds something.
	ErrNotBlank = errors.New("volume is not blank")
	// ErrForeign is returned for a volume that belongs to something or somebody else.
	ErrForeign = errors.New("volume is not a citizen volume of this pair")
	// ErrNewer is returned for a volume written by a newer version.
	ErrNewer = errors.New("volume was written by a newer version")
	// ErrDamaged is returned when neither superblock can be trusted.
	ErrDamaged = errors.New("volume is damaged")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// superblock is the root of the layout; FORMAT.md holds its byte table.
type superblock struct {
	Generation uint64
	Identity   ident.UUID
	Owner      ident.UUID
	Device     int64
	LogOffset  int64
	LogCap     int64
	LogSize    int64
	PoolOffset int64
	PoolLen    int64
	Database   int64
}

func (s *superblock) encode() []byte {
	b := make([]byte, disk.BlockSize)
	copy(b, magic[:])
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint32(b[12:], disk.BlockSize)
	binary.LittleEndian.PutUint64(b[16:], s.Generation)
	copy(b[24:40], s.Identity[:])
	copy(b[40:56], s.Owner[:])
	for i, v := range []int64{s.Device, s.LogOffset, s.LogCap, s.LogSize, s.PoolOffset, s.PoolLen, s.Database} {
		binary.LittleEndian.PutUint64(b[56+8*i:], uint64(v))
	}
	binary.LittleEndian.PutUint32(b[sumOffset:], crc32.Checksum(b[:sumOffset], castagnoli))
	return b
}

// decodeSuperblock reads one slot. It returns ErrForeign without our magic,
// ErrNewer for a sound slot of a later version, ErrDamaged for the rest.
func decodeSuperblock(b []byte) (superblock, error) {
	var s superblock
	if len(b) < slotBytes || !bytes.Equal(b[:8], magic[:]) {
		return s, ErrForeign
	}
	if binary.LittleEndian.Uint32(b[sumOffset:]) != crc32.Checksum(b[:sumOffset], castagnoli) {
		return s, fmt.Errorf("%w: superblock checksum", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > formatVersion {
		return s, fmt.Errorf("%w: format %d, this program reads up to %d", ErrNewer, v, formatVersion)
	} else if v == 0 {
		return s, fmt.Errorf("%w: format 0", ErrDamaged)
	}
	s.Generation = binary.LittleEndian.Uint64(b[16:])
	copy(s.Identity[:], b[24:40])
	copy(s.Owner[:], b[40:56])
	for i, p := range []*int64{&s.Device, &s.LogOffset, &s.LogCap, &s.LogSize, &s.PoolOffset, &s.PoolLen, &s.Database} {
		*p = int64(binary.LittleEndian.Uint64(b[56+8*i:]))
	}
	if err := s.check(binary.LittleEndian.Uint32(b[12:])); err != nil {
		return superblock{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return s, nil
}

// check refuses geometry that no Format of this version ever made.
func (s *superblock) check(block uint32) error {
	aligned := func(v int64) bool { return v >= 0 && v%disk.BlockSize == 0 }
	switch {
	case block != disk.BlockSize:
		return fmt.Errorf("block size %d", block)
	case s.LogOffset != slotCount*disk.BlockSize || !aligned(s.LogCap) || s.LogCap == 0:
		return errors.New("place of the log")
	case s.LogSize < 0 || s.LogSize > s.LogCap || !aligned(s.LogSize):
		return errors.New("size of the log")
	case s.LogCap > s.Device || s.PoolOffset != s.LogOffset+s.LogCap || !aligned(s.PoolLen):
		return errors.New("place of the pool")
	case s.PoolLen > s.Device-s.PoolOffset || !aligned(s.Database) || s.Database > s.PoolLen:
		return errors.New("size of the database")
	}
	return nil
}

// chooseSuperblock picks the newest sound slot of the two blocks read from a
// volume, or tells why the volume must be left alone.
func chooseSuperblock(blocks []byte) (superblock, error) {
	if len(bytes.Trim(blocks, "\x00")) == 0 {
		return superblock{}, ErrBlank
	}
	var best superblock
	found, foreign := false, 0
	var damage error
	for i := range slotCount {
		s, err := decodeSuperblock(blocks[i*disk.BlockSize : (i+1)*disk.BlockSize])
		switch {
		case errors.Is(err, ErrNewer):
			return superblock{}, err
		case errors.Is(err, ErrForeign):
			foreign++
		case err != nil:
			damage = err
		case s.Generation%slotCount != uint64(i):
			damage = fmt.Errorf("%w: superblock in the wrong slot", ErrDamaged)
		case !found || s.Generation > best.Generation:
			best, found = s, true
		}
	}
	switch {
	case found:
		return best, nil
	case foreign == slotCount:
		return superblock{}, ErrForeign
	case damage == nil:
		damage = ErrDamaged
	}
	return superblock{}, damage
}
