package seglog

import (
	"fmt"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/disk"
)

// Position is the place of a frame: where it lies and what it follows.
type Position struct {
	LSN     uint64
	Segment uint64
	Block   uint64 // within the segment
	Prev    uint32 // checksum of the frame before
}

// Write is one frame on its way to the device. The engine writes Buf at Off,
// makes it durable, and calls Done. Buf belongs to the log and is reused after
// Done.
type Write struct {
	Off     int64
	Buf     []byte
	At      Position
	Records []*frame.Record
}

// segment is what the log knows of one segment.
type segment struct {
	live int    // blocks that somebody still needs
	last uint64 // LSN of the last frame in it
	free bool
}

// Log is the log of an open store.
type Log struct {
	super    superblock
	segments []segment
	free     []uint64 // free segments, oldest first
	next     Position // of the next frame
	from     Position // where recovery begins: nothing at or after it may be reused

	queue    []*frame.Record
	queued   int // blocks of payload in queue
	inflight *Write
	write    Write
	buf      []byte
	frames   uint64
	closed   bool
}

// Identity of the store.
func (l *Log) Identity() Identity { return l.super.id }

// Append queues records for the next frame. Their Data must not change until
// the frame that holds them was built.
func (l *Log) Append(r *frame.Record) {
	r.Seal()
	if r.Kind.HasPayload() {
		l.queued += int(r.Count)
	}
	l.queue = append(l.queue, r)
}

// Queued is the number of records that wait for a frame.
func (l *Log) Queued() int { return len(l.queue) }

// InFlight reports whether a frame is on its way to the device.
func (l *Log) InFlight() bool { return l.inflight != nil }

// Frames counts the frames built since Open.
func (l *Log) Frames() uint64 { return l.frames }

// Next builds the next frame, if records wait, none is in flight and there is
// room for it. Each block of payload in it is held (see Hold).
func (l *Log) Next() *Write {
	if l.inflight != nil || len(l.queue) == 0 || l.closed {
		return nil
	}
	n, table, payload := 0, 0, 0
	for _, r := range l.queue {
		size, blocks := r.Size(), 0
		if r.Kind.HasPayload() {
			blocks = int(r.Count)
		}
		if n == frame.MaxRecords || payload+blocks > frame.MaxPayload || frame.HeaderBlocks(table+size) > frame.MaxHeader {
			break
		}
		n, table, payload = n+1, table+size, payload+blocks
	}
	blocks := uint64(frame.HeaderBlocks(table) + payload)
	if l.next.Block+blocks > l.super.segment && !l.advance() {
		return nil
	}
	w := &l.write
	w.Records = append(w.Records[:0], l.queue[:n]...)
	at := l.super.start + l.next.Segment*l.super.segment + l.next.Block
	var h frame.Header
	l.buf, h = frame.Build(l.buf, l.super.salt, l.next.LSN, l.next.Prev, w.Records, at)
	w.Buf, w.Off, w.At = l.buf, int64(at)*disk.BlockSize, l.next
	l.queue = l.queue[:copy(l.queue, l.queue[n:])]
	clear(l.queue[len(l.queue):cap(l.queue)])
	l.queued -= payload
	seg := &l.segments[l.next.Segment]
	seg.live += payload
	seg.last = l.next.LSN
	l.next.Block += blocks
	l.next.LSN++
	l.next.Prev = h.Sum
	l.inflight = w
	l.frames++
	return w
}

// Done takes note that the frame in flight is durable. Its records stay valid;
// its buffer does not.
func (l *Log) Done() {
	l.inflight = nil
}

// advance moves on to a free segment.
func (l *Log) advance() bool {
	if len(l.free) == 0 {
		return false
	}
	l.next.Segment, l.next.Block = l.free[0], 0
	l.free = l.free[:copy(l.free, l.free[1:])]
	l.segments[l.next.Segment] = segment{}
	return true
}

// Hold counts count blocks from loc as needed, when state is restored from a
// checkpoint. Blocks of frames are held from the moment they are built or read.
func (l *Log) Hold(loc, count uint64) {
	l.segments[l.segmentOf(loc)].live += int(count)
}

// Release tells that block loc is not needed any more.
func (l *Log) Release(loc uint64) {
	i := l.segmentOf(loc)
	if l.segments[i].live--; l.segments[i].live < 0 {
		panic(fmt.Sprintf("seglog: block %d of segment %d released twice", loc, i))
	}
}

func (l *Log) segmentOf(loc uint64) uint64 {
	return (loc - l.super.start) / l.super.segment
}

// Valid reports whether loc can be the place of count blocks of payload.
func (l *Log) Valid(loc, count uint64) bool {
	return loc >= l.super.start && count <= l.super.segment && loc+count <= l.super.start+l.super.segments*l.super.segment
}

// reclaim puts segments that nobody needs back on the free list.
func (l *Log) reclaim() {
	for i := range l.segments {
		s := &l.segments[i]
		if !s.free && s.live == 0 && uint64(i) != l.next.Segment && s.last < l.from.LSN {
			s.free = true
			l.free = append(l.free, uint64(i))
		}
	}
}

// Capacity is the number of blocks that frames can use.
func (l *Log) Capacity() uint64 { return l.super.segments * l.super.segment }

// Free is the number of blocks that new frames may still use, less what is
// queued. Frames carry headers: see Admit.
func (l *Log) Free() uint64 {
	n := uint64(len(l.free))*l.super.segment + l.super.segment - l.next.Block
	if q := uint64(l.queued); q < n {
		return n - q
	}
	return 0
}

// Reserve is the room, in blocks, that only control records, unmaps and resync
// bookkeeping may use, so that a full store can still change its configuration
// and free space.
func (l *Log) Reserve() uint64 {
	return min(max(4*l.super.segment, l.Capacity()/50), l.Capacity()/4)
}

// Admit reports whether count more blocks of payload may be queued. Each record
// may come alone in a frame, with a header block of its own.
func (l *Log) Admit(count uint64) bool {
	return l.Free() >= l.Reserve()+2*count
}

// SinceCheckpoint is how many frames recovery would have to read.
func (l *Log) SinceCheckpoint() uint64 { return l.next.LSN - l.from.LSN }

// Next position: where the next frame will lie. A checkpoint taken now, with no
// record pending, lets recovery begin there.
func (l *Log) NextPosition() Position { return l.next }
