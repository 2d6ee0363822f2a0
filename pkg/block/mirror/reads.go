package mirror

import (
	"errors"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// Read is one run of blocks to read from the device. The engine fills Buf,
// verifies it with Check, sets Err, and calls ReadDone.
type Read struct {
	Loc     uint64 // first block on the device
	Buf     []byte // whole blocks
	Err     error
	vol     ident.Volume
	lba     uint64
	sums    []uint32
	op      *op
	gen     uint32
	key     blockKey // of a read-modify-write
	copy    bool     // of a resync
	asked   bool     // of the peer, after this copy failed
	missing int      // blocks that were asked and have not come
	forPeer uint64   // the peer's number of the fetch that this read is for
	session uint64   // of that fetch
	g       *group
}

// Check sets Err to disk.ErrCorrupt when a block does not match its checksum.
// It may be called by any goroutine.
func (r *Read) Check() {
	for i, sum := range r.sums {
		if r.Err == nil && frame.Sum(r.vol, r.lba+uint64(i), r.Buf[i*disk.BlockSize:(i+1)*disk.BlockSize]) != sum {
			r.Err = disk.ErrCorrupt
		}
	}
}

// read issues the device reads for a request. Only committed data is read.
func (g *group) read(o *op) {
	r := o.req
	first, last := uint64(r.Off/disk.BlockSize), uint64((r.Off+r.Len+disk.BlockSize-1)/disk.BlockSize)
	buf := r.Data
	o.buf = nil
	if r.Off%disk.BlockSize != 0 || r.Len%disk.BlockSize != 0 {
		o.buf = disk.Aligned(int64(last-first) * disk.BlockSize)
		buf = o.buf
	}
	o.left, o.err = 1, nil
	g.c.reading[o] = true
	ext := g.volume(o.vol).ext
	for lba := first; lba < last; {
		dst := buf[(lba-first)*disk.BlockSize:]
		loc, sum := ext.Get(lba)
		if mutant.readUncommitted {
			if p := g.newestPending(o.vol, lba); p != nil && p.rec.Kind == frame.Write {
				copy(dst[:disk.BlockSize], p.rec.Data[(lba-p.rec.LBA)*disk.BlockSize:])
				lba++
				continue
			}
		}
		if loc == 0 {
			clear(dst[:disk.BlockSize])
			lba++
			continue
		}
		sums := []uint32{sum}
		for lba+uint64(len(sums)) < last && len(sums) < frame.MaxBlocks {
			l, s := ext.Get(lba + uint64(len(sums)))
			if l != loc+uint64(len(sums)) || mutant.readUncommitted {
				break
			}
			sums = append(sums, s)
		}
		o.left++
		n := len(sums) * disk.BlockSize
		g.c.ready.Reads = append(g.c.ready.Reads, &Read{Loc: loc, Buf: dst[:n:n], vol: o.vol, lba: lba, sums: sums, op: o, gen: o.gen, g: g})
		lba += uint64(len(sums))
	}
	g.readPartDone(o, nil)
}

// ReadDone takes a finished read.
func (c *Core) ReadDone(r *Read) {
	if errors.Is(r.Err, disk.ErrCorrupt) {
		c.stats.CorruptReads++
		c.slog.Error("block does not match its checksum", "volume", r.vol, "block", r.lba, "place", r.Loc)
	}
	switch {
	case r.forPeer != 0:
		c.fetchRead(r)
	case errors.Is(r.Err, disk.ErrCorrupt) && c.groups[r.g.id] == r.g && r.g.askPeer(r):
	default:
		c.readEnded(r)
	}
}

// readEnded hands a read to whoever waits for it.
func (c *Core) readEnded(r *Read) {
	g := r.g
	switch {
	case c.groups[g.id] != g:
	case r.copy:
		g.copyRead(r)
	case r.op == nil:
		g.partRead(r)
	case r.gen == r.op.gen:
		g.readPartDone(r.op, r.Err)
	}
}

func (g *group) partRead(r *Read) {
	m := g.rmw[r.key]
	if m == nil || m.read != r {
		return
	}
	if r.Err != nil {
		delete(g.rmw, r.key)
		for _, o := range m.waiting {
			g.partDone(o, r.Err)
		}
		return
	}
	g.mergePart(r.key, r.Buf, r.Loc)
}

func (g *group) readPartDone(o *op, err error) {
	if err != nil && o.err == nil {
		o.err = err
	}
	if o.left--; o.left > 0 {
		return
	}
	delete(g.c.reading, o)
	switch {
	case o.err != nil:
		g.c.finish(o, o.err)
	case g.mayRead():
		g.answerRead(o)
	default:
		g.parked = append(g.parked, o) // R6: the lease is checked after the read
	}
}

func (g *group) answerRead(o *op) {
	if o.buf != nil {
		copy(o.req.Data, o.buf[o.req.Off%disk.BlockSize:])
	}
	g.c.finish(o, nil)
}

// unpark answers the reads that waited for a lease.
func (g *group) unpark() {
	if len(g.parked) > 0 && g.mayRead() {
		parked := g.parked
		g.parked = nil
		for _, o := range parked {
			g.answerRead(o)
		}
	}
	g.route()
}

// status answers which parts of the range are mapped.
func (g *group) status(o *op) {
	r := o.req
	ext := g.volume(o.vol).ext
	r.Extents = nil
	for off, end := r.Off, r.Off+r.Len; off < end && len(r.Extents) < maxExtents; {
		lba := uint64(off / disk.BlockSize)
		n, mapped := ext.Run(lba, uint64(end-1)/disk.BlockSize-lba+1)
		to := min(int64(lba+n)*disk.BlockSize, end)
		r.Extents = append(r.Extents, disk.Extent{Len: to - off, Hole: !mapped, Zero: !mapped})
		off = to
	}
	g.c.finish(o, nil)
}
