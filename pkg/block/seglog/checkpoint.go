package seglog

import (
	"fmt"
	"hash/crc32"
	"io"

	"beffroi.dev/pkg/disk"
)

// chunk is how much of a checkpoint is written at once, bytes.
const chunk = 1 << 20

// Checkpoint is one save of the user's state. It is begun by the log's owner,
// written by any goroutine with Write, and finished by the owner with
// FinishCheckpoint.
type Checkpoint struct {
	super superblock
}

// BeginCheckpoint prepares a save in the slot that is not in force. from is
// the position of the oldest frame whose records the saved state does not
// wholly contain.
func (l *Log) BeginCheckpoint(from Position) *Checkpoint {
	s := l.super
	s.generation++
	s.active = 1 - s.active
	s.from = from
	return &Checkpoint{super: s}
}

// Write saves what body writes, then makes it the checkpoint in force. After an
// error the one before is still in force.
func (c *Checkpoint) Write(dev disk.Device, body func(io.Writer) error) error {
	w := &slotWriter{dev: dev, off: int64(firstSlot+c.super.active*c.super.slot) * disk.BlockSize, room: int64(c.super.slot) * disk.BlockSize}
	w.buf = disk.Aligned(chunk)[:0]
	if err := body(w); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := w.flush(); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("sync checkpoint: %w", err)
	}
	c.super.length, c.super.sum = uint64(w.length), w.sum
	return writeSuperblock(dev, c.super)
}

// FinishCheckpoint takes note that c is durable and frees the segments that
// nobody needs any more.
func (l *Log) FinishCheckpoint(c *Checkpoint) {
	l.super = c.super
	l.from = c.super.from
	l.reclaim()
}

// slotWriter writes a stream into a checkpoint slot in aligned chunks.
type slotWriter struct {
	dev    disk.Device
	off    int64
	room   int64
	length int64
	sum    uint32
	buf    []byte
}

func (w *slotWriter) Write(p []byte) (int, error) {
	n := len(p)
	w.sum = crc32.Update(w.sum, castagnoli, p)
	w.length += int64(n)
	if w.length > w.room {
		return 0, fmt.Errorf("checkpoint of more than %d bytes: %w", w.room, disk.ErrNoSpace)
	}
	for len(p) > 0 {
		k := min(len(p), chunk-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		p = p[k:]
		if len(w.buf) == chunk {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *slotWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	n := (len(w.buf) + disk.BlockSize - 1) / disk.BlockSize * disk.BlockSize
	clear(w.buf[len(w.buf):n])
	if _, err := w.dev.WriteAt(w.buf[:n], w.off); err != nil {
		return err
	}
	w.off += int64(n)
	w.buf = w.buf[:0]
	return nil
}
