package mirror

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"beffroi.dev/pkg/block/extent"
	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// volume is one volume of a group on this node.
type volume struct {
	id   ident.Volume
	size int64 // bytes; 0 for a volume that is not configured (any more)
	ext  *extent.Map
}

// pend is a record that is not committed, in log order.
type pend struct {
	rec     *frame.Record
	op      *op // waits for it; nil for records of others
	at      seglog.Position
	slot    int    // index of the record in its frame
	pos     uint64 // position in the inbound stream; 0 for own records
	durable bool
}

// group is everything this node knows of one volume group. Its fields are
// changed by Core's owner only.
type group struct {
	c       *Core
	id      ident.Group
	volumes []*volume  // by number
	token   uint64     // of GroupSpec
	local   bool       // of GroupSpec: the token of its user is since
	conf    frame.Conf // durably entered (R2, R3)
	// entering is the configuration whose Enter record is not durable yet.
	entering  *frame.Conf
	enteredAt clock.Instant
	started   bool // Enter of conf happened in this life of the process

	watermark ident.Seq // committed and applied
	logged    ident.Seq // watermark that the log knows
	durable   ident.Seq // highest contiguous live record that is durable here
	last      ident.Seq // highest live record appended here
	reached   ident.Seq // highest live record ever held, discarded ones included
	history   []epochStart
	pending   []*pend
	settled   int                // how many of pending, from its head, are durable
	newest    map[blockKey]*pend // newest pending write of a block
	unmaps    []*pend            // pending unmaps, for the same question

	base      ident.Seq                          // what a peer outside the set is known to hold
	dirty     map[ident.Volume]*roaring64.Bitmap // blocks a peer outside the set may lack
	discarded map[ident.Volume]*roaring64.Bitmap // blocks of tails this replica threw away outside the set

	// As primary.
	serving    bool
	since      ident.Epoch // this node leads since this epoch, without a break in this life; 0: it does not
	cut        ident.Seq   // the tail that must be committed before serving
	peer       peerState
	leaseUntil clock.Instant
	growAsked  bool // a Grow was proposed in this epoch: it may yet be chosen
	growing    bool // R4: the peer is required although it is not in the set
	handoverAt clock.Instant
	handover   bool // a planned switch drains what is in flight
	feeds      bool // this life copies all to the peer, from feedsFrom on, and knows what is left
	feedsFrom  ident.Seq
	lostPeer   bool // the peer lacks what it acknowledged: it must leave and be copied in full
	proposal   *openProposal
	behindAt   clock.Instant // since when the peer owes an ack; 0 when it owes none

	// As follower.
	in        inbound
	grantedAt clock.Instant
	heardEcho clock.Instant
	heard     bool

	held   []*op // undecided requests, in order
	parked []*op // finished reads that wait for a lease
	rmw    map[blockKey]*merge
	resync resyncState
}

type blockKey struct {
	volume ident.Volume
	lba    uint64
}

// merge is a block whose content is being read, for the requests that write a
// part of it.
type merge struct {
	waiting []*op
	read    *Read // on its way
}

// openProposal is a proposal whose outcome is not known.
type openProposal struct {
	Proposal
	at    clock.Instant // last made
	asked bool          // an answer is outstanding
}

func newGroup(c *Core, id ident.Group) *group {
	return &group{
		c: c, id: id,
		newest:    map[blockKey]*pend{},
		rmw:       map[blockKey]*merge{},
		dirty:     map[ident.Volume]*roaring64.Bitmap{},
		discarded: map[ident.Volume]*roaring64.Bitmap{},
		grantedAt: c.now, // as if a lease had been granted just before we started
	}
}

func (g *group) volume(id ident.Volume) *volume {
	i, ok := slices.BinarySearchFunc(g.volumes, id, func(v *volume, id ident.Volume) int { return int(v.id) - int(id) })
	if !ok {
		g.volumes = slices.Insert(g.volumes, i, &volume{id: id, ext: &extent.Map{}})
	}
	return g.volumes[i]
}

func (g *group) setVolumes(specs []VolumeSpec) {
	for _, s := range specs {
		g.volume(s.ID).size = s.Size
	}
}

func (g *group) primary() bool { return g.conf.Primary == g.c.cfg.Self }
func (g *group) member() bool  { return g.conf.Has(g.c.cfg.Self) }

// needsPeer reports whether a write is only committed when the peer holds it.
func (g *group) needsPeer() bool {
	if mutant.ackSoloBeforeVote && g.proposal != nil && g.proposal.Kind == Shrink {
		return false
	}
	return g.conf.Has(g.c.cfg.Peer) || g.growing
}

// append queues a record for the log and makes it pending.
func (g *group) append(r *frame.Record, o *op) *pend {
	p := &pend{rec: r, op: o}
	g.pending = append(g.pending, p)
	g.index(p)
	if r.Kind.Live() {
		g.last, g.reached = r.Seq, max(g.reached, r.Seq)
		g.noteEpoch(r.Epoch, r.Seq)
	}
	g.c.log.Append(r)
	return p
}

// noteEpoch extends the history of epochs. What lies wholly below the watermark
// is forgotten.
func (g *group) noteEpoch(e ident.Epoch, s ident.Seq) {
	if n := len(g.history); n == 0 || g.history[n-1].epoch != e {
		g.history = append(g.history, epochStart{e, s})
	}
	for len(g.history) > 1 && g.history[1].seq <= g.watermark {
		g.history = g.history[1:]
	}
}

// epochAt is the epoch of the record with number s, 0 when it is forgotten.
func epochAt(history []epochStart, s ident.Seq) ident.Epoch {
	e := ident.Epoch(0)
	for _, h := range history {
		if h.seq <= s {
			e = h.epoch
		}
	}
	return e
}

func (g *group) index(p *pend) {
	switch {
	case p.rec.Kind == frame.Write:
		for i := range uint64(p.rec.Count) {
			g.newest[blockKey{p.rec.Volume, p.rec.LBA + i}] = p
		}
	case p.rec.Kind == frame.Unmap:
		g.unmaps = append(g.unmaps, p)
	}
}

func (g *group) unindex(p *pend) {
	switch {
	case p.rec.Kind == frame.Write:
		for i := range uint64(p.rec.Count) {
			if k := (blockKey{p.rec.Volume, p.rec.LBA + i}); g.newest[k] == p {
				delete(g.newest, k)
			}
		}
	case p.rec.Kind == frame.Unmap:
		g.unmaps = slices.DeleteFunc(g.unmaps, func(u *pend) bool { return u == p })
	}
}

// newestPending returns the newest pending record that covers a block.
func (g *group) newestPending(v ident.Volume, lba uint64) *pend {
	p := g.newest[blockKey{v, lba}]
	for _, u := range g.unmaps {
		r := u.rec
		if r.Volume == v && r.LBA <= lba && lba < r.LBA+uint64(r.Count) && (p == nil || p.rec.Seq < r.Seq) {
			p = u
		}
	}
	return p
}

// recordDurable takes note that a record of this group is durable here.
func (g *group) recordDurable(r *frame.Record, at seglog.Position, slot int) {
	switch {
	case r.Kind == frame.Enter:
		if g.entering != nil && r.Conf.Epoch == g.entering.Epoch {
			g.enter(*g.entering)
		}
		return
	case r.Kind == frame.Truncate || r.Kind == frame.Start || r.Kind == frame.Reset:
		g.controlDurable(r)
		return
	case !r.Kind.Mapped():
		return
	}
	if g.settled < len(g.pending) && g.pending[g.settled].rec == r {
		p := g.pending[g.settled]
		g.settled++
		p.durable, p.at, p.slot = true, at, slot
		if r.Kind.Live() {
			g.durable = r.Seq
		}
		if p.pos != 0 {
			g.in.durable = p.pos
			g.c.acks = true
		}
		return
	}
	// It was truncated while in flight: nobody needs its blocks.
	g.releasePayload(r)
}

func (g *group) releasePayload(r *frame.Record) {
	if r.Kind.HasPayload() && r.Loc != 0 {
		for i := range uint64(r.Count) {
			g.c.log.Release(r.Loc + i)
		}
	}
}

// advance moves the watermark as far as the rules allow and applies what it
// covers.
func (g *group) advance() {
	limit := g.watermark
	switch {
	case g.c.failed != nil:
		return
	case g.primary() && g.entering == nil && g.started:
		limit = g.durable
		if g.needsPeer() {
			limit = min(limit, g.peer.acked)
		}
	case !g.primary():
		limit = min(g.in.commit, g.durable)
	}
	if limit > g.watermark {
		g.watermark = limit
	}
	g.apply()
	if g.primary() {
		g.primaryAdvanced()
	}
}

// apply moves committed records from the head of pending to the extent map.
func (g *group) apply() {
	n := 0
	for _, p := range g.pending {
		if !p.durable || p.rec.Seq > g.watermark {
			break
		}
		g.applyRecord(p.rec)
		g.unindex(p)
		if p.op != nil {
			g.partDone(p.op, nil)
		}
		n++
	}
	if n > 0 {
		g.pending = slices.Delete(g.pending, 0, n)
		g.settled -= n
	}
}

func (g *group) applyRecord(r *frame.Record) {
	v := g.volume(r.Volume)
	if r.Kind.HasPayload() {
		v.ext.Set(r.LBA, r.Loc, r.Sums, g.c.log.Release)
	} else {
		v.ext.Unset(r.LBA, uint64(r.Count), g.c.log.Release)
	}
}

// noteCommit puts the watermark into the next frame when it moved.
func (g *group) noteCommit() {
	if g.watermark != g.logged && g.c.log.Queued() > 0 && !g.c.log.InFlight() {
		g.logged = g.watermark
		g.c.log.Append(&frame.Record{Kind: frame.Commit, Group: g.id, Epoch: g.conf.Epoch, Seq: g.watermark})
	}
}

// discardAbove drops pending records above keep; outside the set their blocks
// join the discarded set (R8).
func (g *group) discardAbove(keep ident.Seq, remember bool) {
	for _, p := range g.pending {
		if p.rec.Seq <= keep && (p.rec.Kind.Live() || !remember) {
			continue
		}
		g.c.stats.DiscardedTail++
		if remember {
			addRange(g.discarded, p.rec.Volume, p.rec.LBA, uint64(p.rec.Count))
		}
		g.unindex(p)
		if p.durable {
			g.releasePayload(p.rec)
		}
		if p.op != nil {
			g.requeue(p.op)
		}
		p.rec = nil
	}
	g.pending = slices.DeleteFunc(g.pending, func(p *pend) bool { return p.rec == nil })
	g.last, g.durable = min(g.last, keep), min(g.durable, keep)
	for n := len(g.history); n > 0 && g.history[n-1].seq > keep; n-- {
		g.history = g.history[:n-1]
	}
	// An older write of a block may be the newest again.
	clear(g.newest)
	g.unmaps, g.settled = nil, 0
	for _, p := range g.pending {
		g.index(p)
		if p.durable {
			g.settled++
		}
	}
}

func addRange(m map[ident.Volume]*roaring64.Bitmap, v ident.Volume, lba, count uint64) {
	if m[v] == nil {
		m[v] = roaring64.New()
	}
	m[v].AddRange(lba, lba+count)
}

func blockCount(m map[ident.Volume]*roaring64.Bitmap) (n uint64) {
	for _, b := range m {
		n += b.GetCardinality()
	}
	return n
}

func sortedVolumes(m map[ident.Volume]*roaring64.Bitmap) []ident.Volume {
	ids := make([]ident.Volume, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// drop releases everything the group holds.
func (g *group) drop() {
	for _, v := range g.volumes {
		v.ext.Each(func(_, loc uint64, _ uint32) bool { g.c.log.Release(loc); return true })
	}
	for _, p := range g.pending {
		if p.durable {
			g.releasePayload(p.rec)
		}
		if p.op != nil {
			g.c.finish(p.op, disk.ErrClosed)
		}
	}
	for _, o := range slices.Concat(g.held, g.parked) {
		g.c.finish(o, disk.ErrClosed)
	}
	for _, k := range g.rmwKeys() {
		for _, o := range g.rmw[k].waiting {
			g.c.finish(o, disk.ErrClosed)
		}
	}
	clear(g.rmw)
	g.pending, g.held, g.parked = nil, nil, nil
}
