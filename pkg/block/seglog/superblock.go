package seglog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// Version of the store's format. Open refuses a newer one.
const Version = 1

const superMagic = "BFRSTORE"

// MinSize is the smallest device that holds a store, bytes.
const MinSize = 64 << 20

const (
	firstSlot     = 16      // block number of the first checkpoint slot
	minSegment    = 1024    // blocks: 4 MiB, more than the largest frame
	maxSegment    = 16384   // blocks: 64 MiB
	wantSegments  = 256     // a store is cut in about as many segments, within the bounds above
	slotPerBlock  = 24      // bytes of checkpoint for each block of data, at worst
	slotSlack     = 256     // blocks of checkpoint for everything else
	maxSegmentNum = 1 << 20 // segments a store may have
)

var (
	// ErrBlank means that the device holds no store, nor anything else: it begins with zeros.
	ErrBlank = errors.New("device holds no store")
	// ErrForeign means that the store belongs to another pair.
	ErrForeign = errors.New("store belongs to another pair")
	// ErrNewer means that the store was written by a newer release.
	ErrNewer = errors.New("store format is newer than this release")
	// ErrOther means that the device holds no store, but something.
	ErrOther = errors.New("device holds something else than a store")
	// ErrTorn means that no intact superblock was found.
	ErrTorn = errors.New("no intact superblock")
	// ErrCorrupt means that a frame in the middle of the log is damaged.
	ErrCorrupt = errors.New("log is damaged")
	// ErrTooSmall means that the device cannot hold a store.
	ErrTooSmall = errors.New("device is too small for a store")
)

// Identity names a store: the pair it belongs to and the replica it is (R9).
type Identity struct {
	Pair    ident.UUID
	Replica ident.UUID
}

// superblock is the root of a store; two copies alternate.
type superblock struct {
	generation uint64
	id         Identity
	salt       uint64
	blocks     uint64 // device size
	segment    uint64 // blocks a segment
	segments   uint64
	start      uint64 // first block of segment 0
	slot       uint64 // blocks of a checkpoint slot
	active     uint64 // checkpoint slot in force
	length     uint64 // bytes of the checkpoint, 0 when there is none yet
	sum        uint32 // of the checkpoint
	from       Position
}

// layout computes where everything lies on a device of size bytes.
func layout(size int64) (superblock, error) {
	if size < MinSize {
		return superblock{}, fmt.Errorf("%w: %d MiB, at least %d MiB are needed", ErrTooSmall, size>>20, MinSize>>20)
	}
	s := superblock{blocks: uint64(size) / disk.BlockSize}
	s.segment = min(max(s.blocks/wantSegments, minSegment), maxSegment)
	s.slot = s.blocks*slotPerBlock/disk.BlockSize + slotSlack
	s.start = firstSlot + 2*s.slot
	s.segments = min((s.blocks-s.start)/s.segment, maxSegmentNum)
	return s, nil
}

func (s superblock) encode() []byte {
	b := disk.Aligned(disk.BlockSize)
	w := append(b[:0], superMagic...)
	w = binary.LittleEndian.AppendUint32(w, Version)
	w = binary.LittleEndian.AppendUint32(w, 0)
	w = binary.LittleEndian.AppendUint64(w, s.generation)
	w = append(w, s.id.Pair[:]...)
	w = append(w, s.id.Replica[:]...)
	for _, v := range []uint64{s.salt, s.blocks, s.segment, s.segments, s.start, s.slot, s.active, s.length, uint64(s.sum),
		s.from.LSN, s.from.Segment, s.from.Block, uint64(s.from.Prev)} {
		w = binary.LittleEndian.AppendUint64(w, v)
	}
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, castagnoli))
	return b
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// decodeSuperblock reads one copy. The error is ErrBlank for zeros, ErrNewer
// for a newer version, ErrTorn for anything else that is not intact.
func decodeSuperblock(b []byte, deviceBlocks uint64) (superblock, error) {
	blank := true
	for _, c := range b {
		blank = blank && c == 0
	}
	if blank {
		return superblock{}, ErrBlank
	}
	if string(b[:8]) != superMagic {
		return superblock{}, ErrTorn
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > Version {
		return superblock{}, fmt.Errorf("%w: version %d, this release reads up to %d", ErrNewer, v, Version)
	}
	c := append([]byte(nil), b...)
	clear(c[12:16])
	if crc32.Checksum(c, castagnoli) != binary.LittleEndian.Uint32(b[12:]) {
		return superblock{}, ErrTorn
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[56+8*i:]) }
	s := superblock{
		generation: binary.LittleEndian.Uint64(b[16:]),
		salt:       u(0), blocks: u(1), segment: u(2), segments: u(3), start: u(4), slot: u(5), active: u(6), length: u(7), sum: uint32(u(8)),
		from: Position{LSN: u(9), Segment: u(10), Block: u(11), Prev: uint32(u(12))},
	}
	copy(s.id.Pair[:], b[24:40])
	copy(s.id.Replica[:], b[40:56])
	ok := s.segment >= minSegment && s.segment <= maxSegment && s.segments > 0 && s.segments <= maxSegmentNum &&
		s.slot < deviceBlocks && s.start == firstSlot+2*s.slot && s.start+s.segments*s.segment <= deviceBlocks &&
		s.active < 2 && s.length <= s.slot*disk.BlockSize && s.from.Segment < s.segments && s.from.Block <= s.segment
	if !ok {
		return superblock{}, fmt.Errorf("%w: its figures do not fit a device of %d blocks", ErrTorn, deviceBlocks)
	}
	return s, nil
}

// readSuperblock returns the newer of the two intact copies.
func readSuperblock(dev disk.Device) (superblock, error) {
	buf := disk.Aligned(2 * disk.BlockSize)
	if _, err := dev.ReadAt(buf, 0); err != nil {
		return superblock{}, fmt.Errorf("read superblocks: %w", err)
	}
	blocks := uint64(dev.Size()) / disk.BlockSize
	a, errA := decodeSuperblock(buf[:disk.BlockSize], blocks)
	b, errB := decodeSuperblock(buf[disk.BlockSize:], blocks)
	switch {
	case errors.Is(errA, ErrNewer):
		return superblock{}, errA
	case errors.Is(errB, ErrNewer):
		return superblock{}, errB
	case errA == nil && (errB != nil || a.generation > b.generation):
		return a, nil
	case errB == nil:
		return b, nil
	case errors.Is(errA, ErrBlank) && errors.Is(errB, ErrBlank):
		return superblock{}, readBlank(dev)
	default:
		return superblock{}, ErrTorn
	}
}

// HeadBytes is how much of a device must be zero for it to count as blank, bytes: more than
// where any file system or volume manager keeps its mark. A store's superblocks lie in it;
// what follows is bound to them and worth nothing without.
const HeadBytes = 1 << 20

// readBlank tells a blank device, ErrBlank, from one whose mark lies further on.
func readBlank(dev disk.Device) error {
	head := disk.Aligned(min(HeadBytes, dev.Size()/disk.BlockSize*disk.BlockSize))
	if _, err := dev.ReadAt(head, 0); err != nil {
		return fmt.Errorf("read the beginning of the device: %w", err)
	}
	if i := bytes.IndexFunc(head, func(r rune) bool { return r != 0 }); i >= 0 {
		return fmt.Errorf("%w: it begins at byte %d", ErrOther, i)
	}
	return ErrBlank
}

func writeSuperblock(dev disk.Device, s superblock) error {
	if _, err := dev.WriteAt(s.encode(), int64(s.generation%2)*disk.BlockSize); err != nil {
		return fmt.Errorf("write superblock: %w", err)
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("sync superblock: %w", err)
	}
	return nil
}

// Format makes an empty store on dev. It refuses a device that holds anything
// in its first MiB, so that nothing is overwritten by mistake.
// salt must be random.
func Format(dev disk.Device, id Identity, salt uint64) error {
	s, err := layout(dev.Size())
	if err != nil {
		return err
	}
	switch _, err := readSuperblock(dev); {
	case err == nil:
		return errors.New("format: device holds a store already")
	case !errors.Is(err, ErrBlank):
		return fmt.Errorf("format: device is not blank: %w", err)
	}
	s.generation, s.id, s.salt = 1, id, salt
	s.from = Position{LSN: 1}
	return writeSuperblock(dev, s)
}

// ReadIdentity tells whose store dev holds.
func ReadIdentity(dev disk.Device) (Identity, error) {
	s, err := readSuperblock(dev)
	return s.id, err
}
