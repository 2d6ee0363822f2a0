package mirror

import (
	"slices"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
)

type peerPhase uint8

const (
	peerAbsent peerPhase = iota
	peerInvited
	peerLive
)

// peerState is what a primary knows of its peer in this epoch.
type peerState struct {
	phase   peerPhase
	attempt uint64
	since   clock.Instant
	acked   ident.Seq // durable at the peer
	sent    uint64    // records put into the stream of this attempt
	fifo    []sentRecord
	// held are the live records that the peer holds durably and that are not
	// committed yet: only then is their block not dirty any more.
	held []sentRecord
}

// sentRecord is one record of the stream that the peer has not acknowledged.
type sentRecord struct {
	pos    uint64
	kind   frame.Kind
	seq    ident.Seq
	volume ident.Volume
	lba    uint64
	count  uint64
}

func (g *group) tick() {
	if g.c.failed != nil {
		g.route()
		g.expireHeld()
		return
	}
	g.retryProposal()
	switch {
	case g.entering != nil || g.conf.Epoch == 0:
	case g.primary():
		g.primaryTick()
	default:
		g.followerTick()
	}
	g.route()
	g.expireHeld()
}

func (g *group) primaryTick() {
	t := g.c.cfg.Timing
	self, peer := g.c.cfg.Self, g.c.cfg.Peer
	if !g.started {
		if g.proposal == nil {
			g.propose(Restart, self, g.conf.InSync...)
		}
		return
	}
	if g.handover && g.proposal == nil && g.c.now.Sub(g.handoverAt) > t.Evict {
		g.handover = false // it could not be drained: go on as before
	}
	live := g.peer.phase == peerLive
	switch {
	case g.conf.Has(peer):
		if g.proposal == nil && g.peerIsLost() {
			g.propose(Shrink, self, self)
		}
	case g.growing && !live && !g.growAsked:
		g.growing = false
	case g.growAsked && !live && g.c.now.Sub(g.c.sessionAt) > t.Shrink && (g.proposal == nil || g.proposal.Kind == Grow):
		// R4: the grow may have been chosen. Only another configuration settles it.
		g.propose(Restart, self, g.conf.InSync...)
	}
	if g.c.session != 0 && !live {
		g.invitePeer()
	}
	g.resyncMore()
	g.tryGrow()
	g.tryHandover()
}

// peerIsLost tells whether a member of the set keeps the group from going on.
func (g *group) peerIsLost() bool {
	t, now := g.c.cfg.Timing, g.c.now
	since := max(g.c.sessionAt, g.enteredAt)
	if g.c.session == 0 {
		return now.Sub(since) >= t.Shrink
	}
	late := g.behindAt != 0 && now.Sub(g.behindAt) >= t.Evict
	deaf := now.Sub(max(g.leaseUntil, since)) >= t.Evict
	return g.lostPeer || late || deaf
}

func (g *group) sessionUp() {
	g.in.active = false
	g.in.invite = nil
	g.heard = false
	if g.primary() && g.started && g.entering == nil && g.conf.Has(g.c.cfg.Peer) {
		g.invitePeer()
	}
	g.route()
}

func (g *group) sessionDown() {
	g.retirePeer()
	g.in.active = false
	g.in.invite = nil
	g.heard = false
}

// retirePeer ends the stream. Outside the set, what it did not acknowledge is
// dirty again; inside it, it is still pending.
func (g *group) retirePeer() {
	for _, s := range slices.Concat(g.peer.held, g.peer.fifo) {
		addRange(g.dirty, s.volume, s.lba, s.count)
	}
	if g.conf.Has(g.c.cfg.Peer) {
		clear(g.dirty)
	}
	g.peer.phase, g.peer.fifo, g.peer.held = peerAbsent, nil, nil
	g.resync = resyncState{}
	g.c.out = slices.DeleteFunc(g.c.out, func(r *frame.Record) bool { return r.Group == g.id })
}

// invitePeer asks the peer to join. A member is asked at once and again after a
// while; another one when its session has stood for some time.
func (g *group) invitePeer() {
	t, now := g.c.cfg.Timing, g.c.now
	if g.c.failed != nil || g.peer.phase == peerInvited && now.Sub(g.peer.since) < t.Shrink {
		return
	}
	if !g.conf.Has(g.c.cfg.Peer) && now.Sub(g.c.sessionAt) < t.Settle {
		return
	}
	g.c.attempts++
	g.peer = peerState{phase: peerInvited, attempt: g.c.attempts, since: now, acked: g.peer.acked}
	g.c.send(invite{group: g.id, attempt: g.peer.attempt, conf: g.conf}.encode())
}

// receiveJoin starts the stream to a peer that answered an invitation.
func (c *Core) receiveJoin(m join) {
	g := c.groups[m.group]
	if g == nil || c.failed != nil || !g.primary() || !g.started || g.entering != nil || m.epoch != g.conf.Epoch ||
		g.peer.phase != peerInvited || m.attempt != g.peer.attempt {
		return
	}
	if g.conf.Has(c.cfg.Peer) {
		g.streamToMember(m)
	} else {
		g.streamToReturning(m)
	}
}

// streamToMember finds the last record that both histories share; the peer
// drops what it has beyond, and gets what it lacks.
func (g *group) streamToMember(m join) {
	keep := common(g.history, g.last, m.history, m.last, m.watermark)
	if keep < g.watermark {
		// It once had these records (R1) and has them no more: a disk that lost
		// what it acknowledged. It must leave the set and be copied in full.
		if !g.lostPeer {
			g.c.slog.Error("the twin lost records that it had acknowledged", "group", g.id, "holds", keep, "committed", g.watermark)
		}
		g.lostPeer = true
		return
	}
	g.peer.phase = peerLive
	g.c.send(stream{group: g.id, epoch: g.conf.Epoch, attempt: g.peer.attempt, keep: keep, start: keep, member: true}.encode())
	for _, p := range g.pending {
		if p.rec.Seq > keep {
			g.toPeer(p.rec)
		}
	}
	g.noteBehind()
	g.c.leads = true
}

// streamToReturning takes back a peer that is outside the set: by difference if
// it holds all that it is known to have held, in full otherwise (R8).
func (g *group) streamToReturning(m join) {
	if mutant.clearDirtyOnReturn {
		clear(g.dirty)
	}
	lacksAll := slices.ContainsFunc(m.discarded, func(d blockRange) bool { return d.volume == everything })
	if lacksAll && g.feeds && m.last >= g.feedsFrom {
		lacksAll = false // this life knows what it still owes
	}
	full := g.lostPeer || m.last < g.base || m.last == 0 && g.last > 0 || lacksAll || g.diverged(m)
	if mutant.blankByDifference && m.last == 0 {
		full = false
	}
	if full {
		g.feeds, g.feedsFrom = true, g.last
		g.c.stats.FullResyncs++
		for _, v := range g.volumes {
			v.ext.Each(func(lba, _ uint64, _ uint32) bool { addRange(g.dirty, v.id, lba, 1); return true })
		}
		for _, p := range g.pending {
			addRange(g.dirty, p.rec.Volume, p.rec.LBA, uint64(p.rec.Count))
		}
	} else {
		g.c.stats.DeltaResyncs++
	}
	if !mutant.forgetDiscarded {
		for _, d := range m.discarded {
			if d.volume != everything && d.lba <= frame.MaxBlock && d.count <= frame.MaxBlock {
				addRange(g.dirty, d.volume, d.lba, d.count)
			}
		}
	}
	g.lostPeer = false
	g.peer.phase = peerLive
	g.resync = resyncState{total: blockCount(g.dirty), since: g.c.now}
	g.c.slog.Info("the twin returns", "group", g.id, "epoch", g.conf.Epoch, "full", full, "blocks", g.resync.total, "from", g.last)
	g.c.send(stream{group: g.id, epoch: g.conf.Epoch, attempt: g.peer.attempt, keep: m.watermark, start: g.last, startEpoch: epochAt(g.history, g.last), reset: full}.encode())
	g.c.leads = true
	g.resyncMore()
	g.tryGrow()
}

// diverged tells whether what the peer took for committed is not part of this
// history: another lineage, or a disk that was rolled back and went on. Below
// the start of what is remembered the two cannot be compared; they agreed then.
func (g *group) diverged(m join) bool {
	if m.watermark > g.last {
		return true
	}
	return len(g.history) > 0 && m.watermark >= g.history[0].seq && epochAt(g.history, m.watermark) != epochAt(m.history, m.watermark)
}

// common is the highest number up to which two histories agree, given that they
// agree up to floor.
func common(a []epochStart, lastA ident.Seq, b []epochStart, lastB, floor ident.Seq) ident.Seq {
	s := min(lastA, lastB)
	for s > floor {
		ea, eb := epochAt(a, s), epochAt(b, s)
		if ea == eb {
			return s
		}
		s = max(startOf(a, s), startOf(b, s)) - 1
	}
	return min(max(s, floor), lastA)
}

// startOf is where the epoch of record s begins.
func startOf(history []epochStart, s ident.Seq) ident.Seq {
	start := ident.Seq(1)
	for _, h := range history {
		if h.seq <= s {
			start = h.seq
		}
	}
	return start
}

// toPeer puts a record into the stream.
func (g *group) toPeer(r *frame.Record) {
	g.peer.sent++
	if !g.conf.Has(g.c.cfg.Peer) {
		g.peer.fifo = append(g.peer.fifo, sentRecord{g.peer.sent, r.Kind, r.Seq, r.Volume, r.LBA, uint64(r.Count)})
		// The client may have its buffer back before the peer has the bytes.
		c := *r
		c.Data = slices.Clone(r.Data)
		r = &c
	}
	r.Seal()
	g.c.out = append(g.c.out, r)
	if r.Kind.HasPayload() {
		g.c.outN += int(r.Count)
	}
}

// receiveFollow takes acknowledgments and the lease.
func (g *group) receiveFollow(f follow) {
	if !g.primary() || !g.started || g.entering != nil || f.epoch != g.conf.Epoch {
		g.c.stats.Fenced++
		return
	}
	if until := f.echo.Add(g.c.cfg.Timing.Lease); f.echo <= g.c.now && until > g.leaseUntil {
		g.leaseUntil = until
		g.unpark()
	}
	if g.peer.phase != peerLive || f.attempt != g.peer.attempt {
		return
	}
	n := 0
	for n < len(g.peer.fifo) && g.peer.fifo[n].pos <= f.pos {
		if s := g.peer.fifo[n]; s.kind.Live() {
			g.peer.held = append(g.peer.held, s)
		} else {
			g.clean(s)
			g.resync.acked(s)
			g.c.stats.ResyncBlocks += s.count
		}
		n++
	}
	g.peer.fifo = slices.Delete(g.peer.fifo, 0, n)
	if f.seq > g.peer.acked && f.seq <= g.last {
		g.peer.acked = f.seq
		g.behindAt = 0
	}
	if !g.conf.Has(g.c.cfg.Peer) {
		g.base = max(g.base, g.peer.acked)
	}
	g.advance()
	g.noteBehind()
	g.resyncMore()
	g.tryGrow()
}

// clean takes the blocks of a record out of the dirty set.
func (g *group) clean(s sentRecord) {
	if b := g.dirty[s.volume]; b != nil {
		b.RemoveRange(s.lba, s.lba+s.count)
	}
}

// cleanCommitted cleans the blocks of records that the peer holds and that are
// committed now.
func (g *group) cleanCommitted() {
	n := 0
	for n < len(g.peer.held) && g.peer.held[n].seq <= g.watermark {
		g.clean(g.peer.held[n])
		n++
	}
	g.peer.held = slices.Delete(g.peer.held, 0, n)
}

// noteBehind starts or stops the time since which the peer owes an ack.
func (g *group) noteBehind() {
	switch {
	case !g.needsPeer() || g.peer.phase == peerLive && g.peer.acked >= g.last:
		g.behindAt = 0
	case g.behindAt == 0:
		g.behindAt = g.c.now
	}
}

// tryGrow is R4: require the peer, wait until it holds everything, ask the vote.
func (g *group) tryGrow() {
	if g.peer.phase != peerLive || g.conf.Has(g.c.cfg.Peer) || g.proposal != nil || g.entering != nil || !g.serving || g.handover {
		return
	}
	if !mutant.skipGrowWait {
		if blockCount(g.dirty) > 0 || g.resync.inflight > 0 {
			return
		}
		g.growing = true
		if g.peer.acked < g.watermark {
			return
		}
	}
	if g.peer.acked == 0 && g.last > 0 && !mutant.skipGrowWait {
		return
	}
	g.growing = true
	g.propose(Grow, g.c.cfg.Self, g.c.cfg.Self, g.c.cfg.Peer)
}

// primaryAdvanced does what a higher watermark allows.
func (g *group) primaryAdvanced() {
	g.cleanCommitted()
	if !g.serving && g.started && g.entering == nil && (g.watermark >= g.cut || mutant.serveBeforeCommitted) {
		g.serving = true
		g.route()
	}
	g.tryHandover()
}

// leadSection is this group's part of a beat, when it leads.
func (g *group) leadSection() (lead, bool) {
	if !g.primary() || !g.started || g.entering != nil {
		return lead{}, false
	}
	l := lead{group: g.id, epoch: g.conf.Epoch, commit: g.watermark, sent: g.c.now}
	if g.peer.phase == peerLive {
		l.attempt = g.peer.attempt
	}
	return l, true
}

// mayRead is R6 and R7, asked after the work and before the answer.
func (g *group) mayRead() bool {
	if !g.serving || !g.primary() || g.entering != nil || g.handover && g.proposal != nil {
		return false
	}
	if mutant.readWithoutLease {
		return true
	}
	return !g.conf.Has(g.c.cfg.Peer) && !g.growAsked || g.leaseUntil > g.c.now
}

// mayAssign tells whether a new record may be numbered.
func (g *group) mayAssign() bool {
	return g.serving && g.primary() && g.entering == nil && g.proposal == nil && !g.handover && g.c.failed == nil
}
