package seglog

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// Recovery is what Open found: the state of the last checkpoint, then the
// frames after it through Replay.
type Recovery struct {
	State  []byte // of the checkpoint in force; empty for a new store
	dev    *reader
	log    *Log
	firsts map[uint64]uint64 // LSN of the first frame of a segment -> segment
}

// Progress is told how many bytes recovery has read in all, after each read. It must
// not block.
type Progress func(bytes int64)

// Open opens the store on dev, which must belong to pair. The caller restores
// State, calls Hold for what it needs, and then Replay; only then may the log
// be used. How long both take depends on the disk and on what was written since the
// last checkpoint, so who waits for them wants progress, which may be nil.
func Open(dev disk.Device, pair ident.UUID, progress Progress) (*Log, *Recovery, error) {
	// A former life may have ended between a write and its sync: what is read here counts
	// as durable, so it has to be.
	if !mutant.trustCache {
		if err := dev.Sync(); err != nil {
			return nil, nil, fmt.Errorf("open store: %w", err)
		}
	}
	s, err := readSuperblock(dev)
	if err != nil {
		return nil, nil, fmt.Errorf("open store: %w", err)
	}
	if s.id.Pair != pair {
		return nil, nil, fmt.Errorf("open store: %w: %v, ours is %v", ErrForeign, s.id.Pair, pair)
	}
	l := &Log{super: s, segments: make([]segment, s.segments), next: s.from, from: s.from}
	r := &Recovery{dev: &reader{dev: dev, progress: progress}, log: l, firsts: map[uint64]uint64{}}
	if s.length > 0 {
		if r.State, err = readSlot(dev, s); err != nil {
			return nil, nil, fmt.Errorf("open store: %w", err)
		}
	}
	if err := r.scanFirsts(); err != nil {
		return nil, nil, fmt.Errorf("open store: %w", err)
	}
	return l, r, nil
}

func readSlot(dev disk.Device, s superblock) ([]byte, error) {
	size := int64(s.length+disk.BlockSize-1) / disk.BlockSize * disk.BlockSize
	buf := disk.Aligned(size)
	if _, err := dev.ReadAt(buf, int64(firstSlot+s.active*s.slot)*disk.BlockSize); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	buf = buf[:s.length]
	if crc32.Checksum(buf, castagnoli) != s.sum {
		return nil, fmt.Errorf("%w: checkpoint of generation %d does not match its checksum", ErrCorrupt, s.generation)
	}
	return buf, nil
}

// scanFirsts notes which segment begins with which frame.
func (r *Recovery) scanFirsts() error {
	buf := disk.Aligned(disk.BlockSize)
	for i := range r.log.super.segments {
		if err := r.dev.exactly(buf, r.offset(i, 0)); err != nil {
			return fmt.Errorf("read segment %d: %w", i, err)
		}
		h, err := frame.ParseHeader(buf)
		switch {
		case errors.Is(err, frame.ErrVersion):
			return err
		case err == nil && h.Salt == r.log.super.salt && h.LSN >= r.log.from.LSN:
			r.firsts[h.LSN] = i
		}
	}
	return nil
}

func (r *Recovery) offset(segment, block uint64) int64 {
	return int64(r.log.super.start+segment*r.log.super.segment+block) * disk.BlockSize
}

// Replay calls apply for every frame after the checkpoint, in order; the blocks
// of their payload are held. It ends at the first place without an intact
// frame; if frames lie beyond it the error is ErrCorrupt. Records alias memory
// that belongs to them alone.
func (r *Recovery) Replay(apply func(at Position, records []*frame.Record) error) error {
	l := r.log
	for {
		h, records, ok, err := r.frameAt(l.next)
		if err != nil {
			return fmt.Errorf("replay frame %d: %w", l.next.LSN, err)
		}
		if !ok {
			if seg, found := r.firsts[l.next.LSN]; found && (seg != l.next.Segment || l.next.Block != 0) {
				moved := l.next
				moved.Segment, moved.Block = seg, 0
				if h, records, ok, err = r.frameAt(moved); err != nil {
					return fmt.Errorf("replay frame %d: %w", l.next.LSN, err)
				}
				if ok {
					l.next = moved
				}
			}
		}
		if !ok {
			break
		}
		seg := &l.segments[l.next.Segment]
		seg.live += h.Payload
		seg.last = h.LSN
		if err := apply(l.next, records); err != nil {
			return fmt.Errorf("replay frame %d: %w", h.LSN, err)
		}
		l.next.Block += uint64(h.Blocks())
		l.next.LSN++
		l.next.Prev = h.Sum
	}
	if err := r.checkEnd(); err != nil {
		return err
	}
	for i := range l.segments {
		l.segments[i].free = false
	}
	l.reclaim()
	return nil
}

// frameAt reads the frame at a position; ok is false when there is none that
// continues the log there.
func (r *Recovery) frameAt(p Position) (h frame.Header, records []*frame.Record, ok bool, err error) {
	room := r.log.super.segment - p.Block
	if room == 0 {
		return h, nil, false, nil
	}
	off, end := r.offset(p.Segment, p.Block), r.offset(p.Segment+1, 0)
	head, err := r.dev.ahead(off, disk.BlockSize, end)
	if err != nil {
		return h, nil, false, err
	}
	h, err = frame.ParseHeader(head)
	if errors.Is(err, frame.ErrVersion) {
		return h, nil, false, err
	}
	if err != nil || h.Salt != r.log.super.salt || h.LSN != p.LSN || h.Prev != p.Prev || uint64(h.Blocks()) > room {
		return h, nil, false, nil
	}
	whole, err := r.dev.ahead(off, int64(h.Blocks())*disk.BlockSize, end)
	if err != nil {
		return h, nil, false, err
	}
	buf := disk.Aligned(int64(len(whole)))
	copy(buf, whole) // records alias it
	at := r.log.super.start + p.Segment*r.log.super.segment + p.Block
	h, records, err = frame.Parse(buf, at)
	if err != nil {
		return h, nil, false, nil
	}
	return h, records, true, nil
}

// checkEnd looks for a frame beyond the end of the log: there must be none,
// since only one frame is in flight at a time.
func (r *Recovery) checkEnd() error {
	l := r.log
	for lsn, seg := range r.firsts {
		if lsn > l.next.LSN {
			return fmt.Errorf("%w: frame %d is missing or damaged, but frame %d in segment %d follows it", ErrCorrupt, l.next.LSN, lsn, seg)
		}
	}
	buf := disk.Aligned(int64(l.super.segment-l.next.Block) * disk.BlockSize)
	if err := r.dev.exactly(buf, r.offset(l.next.Segment, l.next.Block)); err != nil {
		return fmt.Errorf("read the end of the log: %w", err)
	}
	for ; len(buf) >= disk.BlockSize; buf = buf[disk.BlockSize:] {
		if !bytes.HasPrefix(buf, []byte("BFRFRAME")) {
			continue
		}
		h, err := frame.ParseHeader(buf)
		if err == nil && h.Salt == l.super.salt && h.LSN > l.next.LSN {
			return fmt.Errorf("%w: frame %d is missing or damaged, but frame %d follows it", ErrCorrupt, l.next.LSN, h.LSN)
		}
	}
	return nil
}
