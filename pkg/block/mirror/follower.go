package mirror

import (
	"beffroi.dev/pkg/block/extent"
	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/ident"
)

// inbound is what a replica knows of the stream it receives.
type inbound struct {
	invite   *invite // to be answered when its epoch is entered
	active   bool    // a stream runs
	ready    bool    // what began it is durable, so acknowledgments count
	attempt  uint64
	received uint64 // records of the stream
	durable  uint64 // of them, durable
	commit   ident.Seq
	epoch    ident.Epoch // of the last lead section that was taken
}

// candidate reports whether this replica seeks promotion. It has stopped
// accepting, so that its cut stands (R5).
func (g *group) candidate() bool { return g.proposal != nil && g.proposal.Kind == Promote }

func (g *group) followerTick() {
	mayPromote := g.member() || mutant.promoteOutside && g.last > 0
	if !mayPromote || g.proposal != nil || g.c.now.Sub(g.grantedAt) < g.c.cfg.Timing.Grace {
		return
	}
	g.in.active = false
	g.propose(Promote, g.c.cfg.Self, g.c.cfg.Self)
}

// fenced refuses what comes from an epoch older than the one known (R2).
func (g *group) fenced(e ident.Epoch) bool {
	if e >= g.knownEpoch() || mutant.acceptOldEpoch {
		return false
	}
	g.c.stats.Fenced++
	return true
}

func (c *Core) receiveInvite(m invite) {
	g := c.groups[m.group]
	if g == nil || c.failed != nil || m.conf.Primary != c.cfg.Peer || m.conf.Epoch < g.knownEpoch() {
		return
	}
	if g.candidate() && m.conf.Epoch == g.conf.Epoch {
		return
	}
	g.in.invite = &m
	switch {
	case m.conf.Epoch > g.knownEpoch():
		g.learn(m.conf)
	case g.entering == nil:
		g.joinNow()
	}
}

// joinNow answers the invitation. Outside the set the tail above the watermark
// is discarded first, and its blocks are told (R8).
func (g *group) joinNow() {
	m := *g.in.invite
	g.in = inbound{}
	j := join{group: g.id, epoch: g.conf.Epoch, attempt: m.attempt, watermark: g.watermark, history: g.history}
	if g.member() {
		j.last = g.last
	} else {
		if len(g.pending) > 0 {
			g.discardAbove(g.watermark, true)
			g.c.log.Append(&frame.Record{Kind: frame.Truncate, Group: g.id, Epoch: g.conf.Epoch, Seq: g.watermark})
		}
		j.last, j.discarded = g.reached, ranges(g)
	}
	g.c.send(j.encode())
}

// ranges lists the discarded blocks as runs. A list that would not fit one
// message becomes whole volumes.
func ranges(g *group) []blockRange {
	var out []blockRange
	for _, v := range sortedVolumes(g.discarded) {
		first := len(out)
		for it := g.discarded[v].Iterator(); it.HasNext(); {
			lba := it.Next()
			if n := len(out); n > first && out[n-1].lba+out[n-1].count == lba {
				out[n-1].count++
			} else {
				out = append(out, blockRange{v, lba, 1})
			}
			if len(out) == maxDiscarded {
				b := g.discarded[v]
				out = append(out[:first], blockRange{v, b.Minimum(), b.Maximum() - b.Minimum() + 1})
				break
			}
		}
	}
	return out
}

// receiveStream begins the stream.
func (c *Core) receiveStream(m stream) {
	g := c.groups[m.group]
	if g == nil || c.failed != nil || g.entering != nil || m.epoch != g.conf.Epoch || g.primary() || g.candidate() || m.member != g.member() {
		return
	}
	g.in = inbound{active: true, attempt: m.attempt, epoch: m.epoch}
	switch {
	case !m.member:
		g.beginResync(m)
	case g.last > m.keep && m.keep >= g.watermark:
		g.discardAbove(m.keep, false)
		c.log.Append(&frame.Record{Kind: frame.Truncate, Group: g.id, Epoch: m.epoch, Seq: m.keep})
	default:
		g.in.ready = true
		c.acks = true
	}
}

// beginResync places the replica at the primary's position; what it lacks comes
// as copies. Until a vote takes it into the set it cannot be promoted.
func (g *group) beginResync(m stream) {
	if len(g.pending) > 0 {
		g.discardAbove(g.watermark, true)
	}
	if m.reset {
		g.c.log.Append(&frame.Record{Kind: frame.Reset, Group: g.id, Epoch: m.epoch})
		g.reset()
	}
	g.c.log.Append(&frame.Record{Kind: frame.Start, Group: g.id, Epoch: m.startEpoch, Seq: m.start})
	g.startAt(m.startEpoch, m.start)
	g.durable = 0
}

// everything is the volume under which a replica notes, among what it has discarded, that
// it lacks all content: a full resync has begun and no vote has taken it in since. It is
// as durable as the Reset record, so that a source that starts anew halfway, and has
// forgotten what it was copying, hears of it (R8).
const everything = ident.Volume(0)

func (g *group) reset() {
	for _, v := range g.volumes {
		v.ext.Each(func(_, loc uint64, _ uint32) bool { g.c.log.Release(loc); return true })
		v.ext = &extent.Map{}
	}
	clear(g.discarded)
	if !mutant.forgetIncomplete {
		addRange(g.discarded, everything, 0, 1)
	}
}

// startAt sets the position of a replica outside the set.
func (g *group) startAt(e ident.Epoch, s ident.Seq) {
	g.watermark, g.last, g.durable, g.reached, g.logged = s, s, s, s, s
	g.history = nil
	if s > 0 {
		g.history = []epochStart{{e, s}}
	}
}

// controlDurable takes note that the record that began a stream is durable.
func (g *group) controlDurable(r *frame.Record) {
	if !g.in.active || r.Kind == frame.Reset {
		return
	}
	if r.Kind == frame.Start {
		g.durable = max(g.durable, r.Seq)
	}
	g.in.ready = true
	g.c.acks = true
}

// receiveLead takes the watermark and grants the lease that the beat asks for
// (R6): from now on this replica waits for the grace before it seeks promotion.
func (g *group) receiveLead(l lead) {
	if g.fenced(l.epoch) || l.epoch > g.conf.Epoch || g.candidate() {
		return
	}
	g.heard, g.heardEcho, g.grantedAt = true, l.sent, g.c.now
	g.in.epoch = l.epoch
	if g.in.active && l.attempt == g.in.attempt && l.commit > g.in.commit {
		g.in.commit = l.commit
	}
}

// receiveRecord appends a record of the stream.
func (g *group) receiveRecord(r *frame.Record, leads []lead) {
	var l *lead
	for i := range leads {
		if leads[i].group == g.id {
			l = &leads[i]
		}
	}
	if l == nil || g.c.failed != nil || g.fenced(l.epoch) || !g.in.active || l.attempt != g.in.attempt || g.candidate() {
		return
	}
	if r.Kind.Live() && r.Seq != g.last+1 || !r.Kind.Live() && r.Seq > g.last {
		g.c.slog.Error("record out of order; the stream must begin again", "group", g.id, "seq", r.Seq, "last", g.last, "kind", r.Kind)
		g.in.active = false
		return
	}
	g.in.received++
	g.append(r, nil).pos = g.in.received
}

// followSection is this group's answer to its primary.
func (g *group) followSection() (follow, bool) {
	if g.primary() && !mutant.acceptOldEpoch || !g.heard || g.entering != nil && !mutant.acceptOldEpoch {
		return follow{}, false
	}
	f := follow{group: g.id, epoch: g.in.epoch, echo: g.heardEcho, free: g.c.freeForPeer()}
	if g.in.active && g.in.ready {
		f.attempt, f.pos, f.seq = g.in.attempt, g.in.durable, g.durable
		if mutant.ackBeforeDurable {
			f.pos, f.seq = g.in.received, g.last
		}
	}
	return f, true
}

// freeForPeer is how many blocks this store still takes, at least 1 so that it
// is never mistaken for silence.
func (c *Core) freeForPeer() uint64 {
	free, reserve := c.log.Free(), c.log.Reserve()
	if free <= reserve {
		return 1
	}
	return free - reserve
}
