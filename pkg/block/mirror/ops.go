package mirror

import (
	"errors"
	"slices"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

var (
	errNoGroup    = errors.New("no such group on this node")
	errNotPrimary = errors.New("this node does not lead the group")
	errBusy       = errors.New("a change of the group is under way; try again in a moment")
	errNotInSync  = errors.New("the twin is not in sync; a switch would lose its copy")
	errMoved      = errors.New("the group has moved")
)

// op is one request on its way.
type op struct {
	req      *disk.Request
	g        *group
	vol      ident.Volume
	token    uint64
	remote   *remote // came from the peer
	deadline clock.Instant
	gen      uint32 // parts of an older generation do not count
	left     int    // parts that are not done
	waiting  bool   // it is in held
	finished bool
	internal bool // of ours: nobody is told
	err      error
	buf      []byte // whole blocks around an unaligned read
}

// remote says where the answer to a forwarded request goes.
type remote struct {
	session uint64
	id      uint64
	epoch   ident.Epoch
}

// Submit takes requests for one volume of a group, of a user that holds token.
// Their Done is called through Ready.Done.
func (c *Core) Submit(id ident.Group, vol ident.Volume, token uint64, reqs []*disk.Request) {
	for _, r := range reqs {
		c.dispatch(c.groups[id], &op{req: r, vol: vol, token: token, deadline: c.now.Add(c.cfg.Timing.Hold)})
	}
}

func (c *Core) dispatch(g *group, o *op) {
	if g == nil {
		c.finish(o, disk.ErrClosed)
		return
	}
	o.g = g
	v := g.volume(o.vol)
	switch {
	case v.size == 0:
		c.finish(o, disk.ErrClosed)
	case o.req.Op == disk.Flush, o.req.Op == disk.Cache:
		// Every acknowledged write is durable on the whole set already.
		c.finish(o, nil)
	case disk.CheckRange(o.req.Off, o.req.Len, v.size) != nil:
		c.finish(o, disk.ErrOutOfRange)
	case o.req.Len == 0:
		c.finish(o, nil)
	case !g.execute(o):
		o.waiting = true
		g.held = append(g.held, o)
	}
}

// execute carries a request out if that can be done now: here, or at the peer.
func (g *group) execute(o *op) bool {
	switch {
	case g.local:
		if g.conf.Epoch > 0 && (!g.primary() || o.token != uint64(g.since) && !mutant.anyReign || o.remote != nil) {
			g.c.finish(o, disk.ErrClosed)
			return true
		}
	case o.token < g.token:
		g.c.finish(o, disk.ErrClosed)
		return true
	case o.token > g.token:
		return false
	}
	if g.primary() && g.c.failed == nil {
		switch o.req.Op {
		case disk.Read, disk.Status:
			if !g.mayRead() {
				return false
			}
			if o.req.Op == disk.Read {
				g.read(o)
			} else {
				g.status(o)
			}
		case disk.Write, disk.Trim, disk.Zero:
			if !g.mayAssign() {
				return false
			}
			g.write(o)
		default:
			g.c.finish(o, disk.ErrNotSupported)
		}
		return true
	}
	return o.remote == nil && g.forwardTo(o)
}

// setFence learns the token and kind of user. Requests of an older user that are
// undecided end here; what is numbered already goes its way, before anything the
// new user writes.
func (g *group) setFence(token uint64, local bool) {
	g.local = local
	if token > g.token {
		g.token = token
		g.route()
	}
}

// route tries the undecided requests again.
func (g *group) route() {
	if len(g.held) == 0 {
		return
	}
	held := g.held
	g.held = nil
	for i, o := range held {
		if o.finished {
			continue
		}
		o.waiting = false
		if !g.execute(o) {
			o.waiting = true
			g.held = append(g.held, held[i])
		}
	}
}

func (g *group) expireHeld() {
	for _, list := range []*[]*op{&g.held, &g.parked} {
		*list = slices.DeleteFunc(*list, func(o *op) bool {
			if g.c.now < o.deadline {
				return false
			}
			o.waiting = false
			g.c.finish(o, disk.ErrTimeout)
			return true
		})
	}
	for _, p := range g.pending {
		if p.op != nil && g.c.now >= p.op.deadline {
			o := p.op
			for _, q := range g.pending {
				if q.op == o { // its client takes the buffer back
					q.rec.Data, q.op = slices.Clone(q.rec.Data), nil
				}
			}
			g.c.finish(o, disk.ErrTimeout)
		}
	}
}

// finish answers a request, once.
func (c *Core) finish(o *op, err error) {
	if o.finished {
		return
	}
	o.finished = true
	o.gen++
	if err == nil {
		c.stats.Acked++
	}
	if o.internal {
		return
	}
	if o.remote != nil {
		c.answer(o, err)
		return
	}
	o.req.Err = err
	c.ready.Done = append(c.ready.Done, o.req)
}

// partDone counts one part of a request.
func (g *group) partDone(o *op, err error) {
	if err != nil && o.err == nil {
		o.err = err
	}
	if o.left--; o.left == 0 {
		g.c.finish(o, o.err)
	}
}

// write turns a request into records.
func (g *group) write(o *op) {
	r := o.req
	first, last := r.Off/disk.BlockSize, (r.Off+r.Len+disk.BlockSize-1)/disk.BlockSize
	if r.Op != disk.Trim && !g.room(uint64(last-first), r.Op) {
		g.c.finish(o, disk.ErrNoSpace)
		return
	}
	o.left, o.err = 1, nil // held open until all parts are issued
	off, end := r.Off, r.Off+r.Len
	for off < end {
		lba, in := uint64(off/disk.BlockSize), off%disk.BlockSize
		n := end - off
		if in != 0 || n < disk.BlockSize {
			n = min(n, disk.BlockSize-in)
			if r.Op != disk.Trim {
				g.writePart(o, blockKey{o.vol, lba})
			}
			off += n
			continue
		}
		count := uint64(n / disk.BlockSize)
		if r.Op == disk.Write {
			count = min(count, frame.MaxBlocks)
			n = int64(count) * disk.BlockSize
			g.assign(&frame.Record{Kind: frame.Write, Volume: o.vol, LBA: lba, Count: uint32(count), Data: r.Data[off-r.Off:][:n:n]}, o)
		} else {
			count = min(count, frame.MaxUnmap)
			n = int64(count) * disk.BlockSize
			g.assign(&frame.Record{Kind: frame.Unmap, Volume: o.vol, LBA: lba, Count: uint32(count)}, o)
		}
		off += n
	}
	g.partDone(o, nil)
}

// room tells whether both stores can take count blocks more.
func (g *group) room(count uint64, op disk.Op) bool {
	if op == disk.Zero {
		count = 2 // at most two partial blocks are written
	}
	if !g.c.log.Admit(count) {
		return false
	}
	if !g.conf.Has(g.c.cfg.Peer) && g.peer.phase != peerLive || g.c.peerFree == 0 {
		return true
	}
	return g.c.peerFree > 2*(count+uint64(g.c.outN)+uint64(len(g.pending)))
}

// assign numbers a record, queues it for the log and for the peer.
func (g *group) assign(r *frame.Record, o *op) {
	r.Group, r.Epoch, r.Seq = g.id, g.conf.Epoch, g.last+1
	o.left++
	g.append(r, o)
	switch {
	case g.peer.phase == peerLive:
		g.toPeer(r)
	case !g.conf.Has(g.c.cfg.Peer):
		addRange(g.dirty, r.Volume, r.LBA, uint64(r.Count))
	}
	g.noteBehind()
}

// writePart merges a part of a block with the newest version of the block,
// which may still be pending, or must be read first.
func (g *group) writePart(o *op, key blockKey) {
	o.left++
	if m := g.rmw[key]; m != nil {
		m.waiting = append(m.waiting, o)
		return
	}
	g.rmw[key] = &merge{waiting: []*op{o}}
	g.mergePart(key, nil, 0)
}

// mergePart writes the block for all that wait for it, if its newest content is
// at hand: pending, unmapped, or just read from loc. Else it reads it.
func (g *group) mergePart(key blockKey, content []byte, loc uint64) {
	at, sum := g.volume(key.volume).ext.Get(key.lba)
	var base []byte
	switch p := g.newestPending(key.volume, key.lba); {
	case p != nil && p.rec.Kind == frame.Write:
		base = p.rec.Data[(key.lba-p.rec.LBA)*disk.BlockSize:][:disk.BlockSize]
	case p != nil, at == 0:
		base = make([]byte, disk.BlockSize)
	case content != nil && at == loc:
		base = content
	default:
		r := &Read{Loc: at, Buf: disk.Aligned(disk.BlockSize), vol: key.volume, lba: key.lba, sums: []uint32{sum}, key: key, g: g}
		g.rmw[key].read = r
		g.c.ready.Reads = append(g.c.ready.Reads, r)
		return
	}
	waiting := g.rmw[key].waiting
	delete(g.rmw, key)
	for _, o := range waiting {
		switch {
		case o.finished: // it timed out
			continue
		case o.token < g.token:
			g.c.finish(o, disk.ErrClosed)
			continue
		case !g.mayAssign():
			g.requeue(o)
			continue
		}
		block := slices.Clone(base)
		start := int64(key.lba) * disk.BlockSize
		from, to := max(o.req.Off, start), min(o.req.Off+o.req.Len, start+disk.BlockSize)
		if o.req.Op == disk.Write {
			copy(block[from-start:to-start], o.req.Data[from-o.req.Off:])
		} else {
			clear(block[from-start : to-start])
		}
		g.assign(&frame.Record{Kind: frame.Write, Volume: key.volume, LBA: key.lba, Count: 1, Data: block}, o)
		g.partDone(o, nil)
		base = block
	}
	g.tryHandover()
}
