package mirror

import (
	"bufio"
	"fmt"
	"io"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"beffroi.dev/pkg/block/extent"
	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// stateVersion is the version of the saved state. It stands first.
const stateVersion = 1

// Save is a checkpoint that the engine writes, on any goroutine, while Core goes
// on; then it calls SaveDone.
type Save struct {
	check  *seglog.Checkpoint
	next   uint64 // LSN of the first frame whose records are not in the state
	groups []savedGroup
}

type savedGroup struct {
	id                       ident.Group
	conf                     frame.Conf
	base, watermark, reached ident.Seq
	history                  []epochStart
	dirty, discarded         map[ident.Volume]*roaring64.Bitmap
	volumes                  []volume
	pending                  []pendingRef
}

// pendingRef names a pending record by its place in the log.
type pendingRef struct {
	lsn  uint64
	slot uint32
}

type checkpointing struct{ save *Save }

// maybeSave begins a checkpoint when recovery would have much to read, or space
// is short. It is called when a frame became durable and none is in flight, so
// that the state is that of a prefix of the log.
func (c *Core) maybeSave() {
	every := c.cfg.SaveEvery
	if every == 0 {
		every = DefaultSaveEvery
	}
	since := c.log.SinceCheckpoint()
	short := c.log.Free() < 2*c.log.Reserve() && since > every/16
	if c.check != nil || c.failed != nil || c.log.InFlight() || c.ready.Write != nil || since < every && !short {
		return
	}
	c.beginSave()
}

func (c *Core) beginSave() {
	from := c.log.NextPosition()
	s := &Save{next: from.LSN}
	for _, g := range c.order {
		sg := savedGroup{
			id: g.id, conf: g.conf, base: g.base, watermark: g.watermark, reached: g.reached,
			history: append([]epochStart(nil), g.history...), dirty: cloneSets(g.dirty), discarded: cloneSets(g.discarded),
		}
		for _, p := range g.pending[:g.settled] {
			sg.pending = append(sg.pending, pendingRef{p.at.LSN, uint32(p.slot)})
			if p.at.LSN < from.LSN {
				from = p.at
			}
		}
		// A stream in progress dirties what the peer has not acknowledged.
		for _, f := range slices.Concat(g.peer.held, g.peer.fifo) {
			addRange(sg.dirty, f.volume, f.lba, f.count)
		}
		for _, v := range g.volumes {
			sg.volumes = append(sg.volumes, volume{id: v.id, size: v.size, ext: v.ext.Snapshot()})
		}
		s.groups = append(s.groups, sg)
	}
	s.check = c.log.BeginCheckpoint(from)
	c.check = &checkpointing{s}
	c.ready.Save = s
}

func cloneSets(m map[ident.Volume]*roaring64.Bitmap) map[ident.Volume]*roaring64.Bitmap {
	c := make(map[ident.Volume]*roaring64.Bitmap, len(m))
	for v, b := range m {
		if !b.IsEmpty() {
			c[v] = b.Clone()
		}
	}
	return c
}

// Write writes the checkpoint. It may run on any goroutine.
func (s *Save) Write(dev disk.Device) error {
	return s.check.Write(dev, func(w io.Writer) error {
		e := &encoder{w: bufio.NewWriterSize(w, 1<<16)}
		s.encode(e)
		if e.err != nil {
			return e.err
		}
		return e.w.Flush()
	})
}

// SaveDone reports the outcome of a save.
func (c *Core) SaveDone(s *Save, err error) {
	c.check = nil
	if err != nil {
		c.fail(err)
		return
	}
	c.log.FinishCheckpoint(s.check)
}

type encoder struct {
	w   *bufio.Writer
	err error
	b   [8]byte
}

func (e *encoder) bytes(p []byte) {
	if e.err == nil {
		_, e.err = e.w.Write(p)
	}
}
func (e *encoder) u32(v uint32) { le.PutUint32(e.b[:], v); e.bytes(e.b[:4]) }
func (e *encoder) u64(v uint64) { le.PutUint64(e.b[:], v); e.bytes(e.b[:]) }

func (e *encoder) sets(m map[ident.Volume]*roaring64.Bitmap) {
	ids := sortedVolumes(m)
	e.u32(uint32(len(ids)))
	for _, id := range ids {
		b, err := m[id].ToBytes()
		if err != nil && e.err == nil {
			e.err = fmt.Errorf("encode block set: %w", err)
		}
		e.u32(uint32(id))
		e.u64(uint64(len(b)))
		e.bytes(b)
	}
}

func (s *Save) encode(e *encoder) {
	e.u32(stateVersion)
	e.u64(s.next)
	e.u32(uint32(len(s.groups)))
	for _, g := range s.groups {
		e.u32(uint32(g.id))
		e.bytes(frame.AppendConf(nil, g.conf, g.base))
		e.u64(uint64(g.watermark))
		e.u64(uint64(g.reached))
		e.u32(uint32(len(g.history)))
		for _, h := range g.history {
			e.u64(uint64(h.epoch))
			e.u64(uint64(h.seq))
		}
		e.sets(g.dirty)
		e.sets(g.discarded)
		e.u32(uint32(len(g.pending)))
		for _, p := range g.pending {
			e.u64(p.lsn)
			e.u32(p.slot)
		}
		e.u32(uint32(len(g.volumes)))
		for _, v := range g.volumes {
			e.volume(v)
		}
	}
}

// volume writes the map as runs of consecutive places, ended by an empty run.
func (e *encoder) volume(v volume) {
	e.u32(uint32(v.id))
	e.u64(uint64(v.size))
	var lba, loc uint64
	var sums []uint32
	flush := func() {
		e.u64(lba)
		e.u64(loc)
		e.u32(uint32(len(sums)))
		for _, s := range sums {
			e.u32(s)
		}
	}
	v.ext.Each(func(b, l uint64, s uint32) bool {
		if n := uint64(len(sums)); n > 0 && (b != lba+n || l != loc+n || n == maxRun) {
			flush()
			sums = sums[:0]
		}
		if len(sums) == 0 {
			lba, loc = b, l
		}
		sums = append(sums, s)
		return e.err == nil
	})
	if len(sums) > 0 {
		flush()
	}
	lba, loc, sums = 0, 0, nil
	flush()
}

// maxRun bounds a run of a saved map, in blocks.
const maxRun = 1 << 16

func (r *reader) sets() map[ident.Volume]*roaring64.Bitmap {
	m := map[ident.Volume]*roaring64.Bitmap{}
	for range r.count(1<<20, 12) {
		id := ident.Volume(r.u32())
		n := r.u64()
		if r.err != nil || n > uint64(len(r.b)) {
			r.err = errMessage
			return m
		}
		b := roaring64.New()
		if err := b.UnmarshalBinary(r.take(int(n))); err != nil {
			r.err = err
			return m
		}
		m[id] = b
	}
	return m
}

// restore reads the saved state into c and returns the pending records by place.
func (c *Core) restore(state []byte) (next uint64, pending map[pendingRef]*group, err error) {
	r := &reader{b: state}
	if v := r.u32(); v != stateVersion {
		return 0, nil, fmt.Errorf("saved state has version %d, this release reads %d", v, stateVersion)
	}
	next = r.u64()
	pending = map[pendingRef]*group{}
	for range r.count(1<<20, 64) {
		g := c.group(r.group())
		if r.err != nil {
			break
		}
		if g.conf, g.base, r.b, err = frame.ParseConf(r.b); err != nil {
			return 0, nil, err
		}
		g.watermark, g.reached = r.seq(), r.seq()
		g.logged, g.last, g.durable = g.watermark, g.watermark, g.watermark
		for range r.count(maxHistory, 16) {
			g.history = append(g.history, epochStart{r.epoch(), r.seq()})
		}
		g.dirty, g.discarded = r.sets(), r.sets()
		for range r.count(1<<20, 12) {
			pending[pendingRef{r.u64(), r.u32()}] = g
		}
		for range r.count(1<<16, 12) {
			r.volume(g)
		}
	}
	if err := r.end(); err != nil {
		return 0, nil, fmt.Errorf("saved state: %w", err)
	}
	return next, pending, nil
}

func (r *reader) volume(g *group) {
	v := g.volume(ident.Volume(r.u32()))
	v.size = int64(r.u64())
	v.ext = &extent.Map{}
	for r.err == nil {
		lba, loc := r.u64(), r.u64()
		n := r.count(maxRun, 4)
		if n == 0 || r.err != nil {
			return
		}
		sums := make([]uint32, n)
		for i := range sums {
			sums[i] = r.u32()
		}
		if !g.c.log.Valid(loc, 1) || !g.c.log.Valid(loc+uint64(n)-1, 1) {
			r.err = fmt.Errorf("%w: block %d lies outside the store", errMessage, loc)
			return
		}
		for i := range uint64(n) {
			g.c.log.Hold(loc+i, 1)
		}
		v.ext.Set(lba, loc, sums, g.c.log.Release)
	}
}
