package mirror

import (
	"slices"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// knownEpoch is the highest epoch this replica has entered or is entering: it
// refuses all lower ones (R2).
func (g *group) knownEpoch() ident.Epoch {
	if g.entering != nil {
		return g.entering.Epoch
	}
	return g.conf.Epoch
}

// learn begins to enter a newer configuration. It takes effect when the Enter
// record is durable (R3: learn it durably, then act on it).
func (g *group) learn(conf frame.Conf) {
	if conf.Epoch <= g.knownEpoch() {
		return
	}
	g.entering = &conf
	if !conf.Has(g.c.cfg.Peer) && g.conf.Has(g.c.cfg.Peer) || g.conf.Epoch == 0 {
		g.base = max(g.watermark, g.peer.acked)
	}
	g.c.log.Append(&frame.Record{Kind: frame.Enter, Group: g.id, Epoch: conf.Epoch, Seq: g.last, Conf: &conf, Base: g.base})
}

// enter acts on a configuration whose Enter record is durable.
func (g *group) enter(conf frame.Conf) {
	wasPrimary := g.primary() && g.started
	self, peer := g.c.cfg.Self, g.c.cfg.Peer
	g.c.slog.Info("group enters epoch", "group", g.id, "epoch", conf.Epoch, "primary", conf.Primary,
		"insync", conf.InSync, "from", g.conf.Epoch, "last", g.last, "watermark", g.watermark)
	// Epochs follow one another by one, so nobody led between two neighbours.
	reign := g.since
	switch {
	case conf.Primary != self:
		g.since = 0
	case !wasPrimary || conf.Epoch != g.conf.Epoch+1:
		g.since = conf.Epoch
	}
	g.conf, g.entering, g.started = conf, nil, true
	g.proposal, g.handover, g.growing, g.growAsked, g.feeds = nil, false, false, false, false
	g.serving, g.leaseUntil, g.behindAt = false, 0, 0
	g.enteredAt = g.c.now
	g.retirePeer()
	g.applyEnter(self, peer)
	g.in = inbound{invite: g.in.invite}
	g.grantedAt, g.heard = g.c.now, false
	g.cut = g.last
	if conf.Primary != self || g.since != reign {
		g.requeueAll()
	}
	g.refuseRemote()
	if g.primary() {
		g.in.invite = nil
		g.peer.acked = 0
		if g.c.session != 0 {
			g.invitePeer()
		}
		g.c.leads = true
	} else if g.in.invite != nil && g.in.invite.conf.Epoch == conf.Epoch {
		g.joinNow()
	}
	g.advance()
	g.route()
}

// applyEnter does what an Enter record means for the resync sets. Recovery
// calls it too.
func (g *group) applyEnter(self, peer ident.Node) {
	if g.conf.Has(self) {
		clear(g.discarded)
	}
	switch {
	case g.conf.Has(peer):
		clear(g.dirty)
	case g.conf.Primary == self:
		for _, p := range g.pending {
			if p.rec.Seq > g.base {
				addRange(g.dirty, p.rec.Volume, p.rec.LBA, uint64(p.rec.Count))
			}
		}
	}
}

// requeueAll makes every request that waits here undecided again: the new
// primary, here or there, will carry it out.
func (g *group) requeueAll() {
	for _, p := range g.pending {
		if p.op != nil {
			p.rec.Data = slices.Clone(p.rec.Data)
			g.requeue(p.op)
			p.op = nil
		}
	}
	for _, key := range g.rmwKeys() {
		for _, o := range g.rmw[key].waiting {
			g.requeue(o)
		}
	}
	clear(g.rmw)
	for _, o := range g.parked {
		g.requeue(o)
	}
	g.parked = nil
}

func (g *group) rmwKeys() []blockKey {
	keys := make([]blockKey, 0, len(g.rmw))
	for k := range g.rmw {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b blockKey) int {
		if a.volume != b.volume {
			return int(a.volume) - int(b.volume)
		}
		return int(int64(a.lba) - int64(b.lba))
	})
	return keys
}

// requeue puts a request back among the undecided ones, once.
func (g *group) requeue(o *op) {
	if o.finished || o.waiting || o.internal {
		return
	}
	o.gen++
	o.left, o.waiting = 0, true
	g.held = append(g.held, o)
}

// refuseRemote answers every request that the peer forwarded for an older
// epoch: it must not be carried out later, out of its order.
func (g *group) refuseRemote() {
	g.held = slices.DeleteFunc(g.held, func(o *op) bool {
		if o.remote == nil || o.remote.epoch == g.conf.Epoch {
			return false
		}
		o.waiting = false
		g.c.finish(o, errMoved)
		return true
	})
}

// propose opens a proposal. Until it is settled the group assigns no number.
func (g *group) propose(kind ProposalKind, primary ident.Node, insync ...ident.Node) {
	slices.Sort(insync)
	p := Proposal{Group: g.id, Base: g.conf.Epoch, Kind: kind, Conf: frame.Conf{
		Epoch: g.conf.Epoch + 1, Primary: primary, InSync: insync,
		CutEpoch: epochAt(g.history, g.durable), CutSeq: g.durable, Lineage: g.conf.Lineage,
	}}
	g.proposal = &openProposal{Proposal: p, at: g.c.now, asked: true}
	g.growAsked = g.growAsked || kind == Grow
	g.c.slog.Info("group proposes", "group", g.id, "kind", kind, "epoch", p.Conf.Epoch, "primary", primary, "insync", insync, "cut", g.durable)
	g.c.ready.Proposals = append(g.c.ready.Proposals, p)
}

func (g *group) proposalDone(p Proposal, o Outcome) {
	open := g.proposal
	if open == nil || open.Base != p.Base || open.Kind != p.Kind {
		return
	}
	open.asked = false
	if o == Refused {
		g.c.slog.Warn("proposal refused", "group", g.id, "kind", p.Kind)
		g.proposal = nil
		g.handover = false
		if p.Kind == Grow {
			g.growing, g.growAsked = false, false
		}
		g.route()
	}
}

// retryProposal makes an open proposal again when its outcome stays unknown.
func (g *group) retryProposal() {
	p := g.proposal
	if p == nil || g.c.now.Sub(p.at) < g.c.cfg.Timing.Retry {
		return
	}
	p.at, p.asked = g.c.now, true
	g.c.ready.Proposals = append(g.c.ready.Proposals, p.Proposal)
}

// SwitchTo hands the group over to the twin: nothing new is admitted, what is
// in flight is finished, then the vote is asked. It returns an error that says
// why it cannot be done now.
func (c *Core) SwitchTo(id ident.Group, to ident.Node) error {
	g := c.groups[id]
	switch {
	case g == nil:
		return errNoGroup
	case g.conf.Primary == to:
		return nil
	case !g.primary() || to != c.cfg.Peer:
		return errNotPrimary
	case g.entering != nil || g.proposal != nil || !g.serving || c.failed != nil:
		return errBusy
	case !g.conf.Has(to) || g.peer.phase != peerLive:
		return errNotInSync
	}
	g.handover = true
	g.handoverAt = c.now
	g.tryHandover()
	return nil
}

// DistrustPeer has everything copied to the twin when it returns, whatever it says to
// hold. While it is in the set this changes nothing. The simulation calls it, so that full
// copies, which are rare, meet every fault.
func (c *Core) DistrustPeer(id ident.Group) {
	if g := c.groups[id]; g != nil && !g.conf.Has(c.cfg.Peer) && g.peer.phase != peerLive {
		g.lostPeer = true
	}
}

// tryHandover proposes the switch once nothing is in flight.
func (g *group) tryHandover() {
	if g.handover && g.proposal == nil && g.entering == nil && len(g.pending) == 0 && len(g.rmw) == 0 {
		g.propose(Switch, g.c.cfg.Peer, g.conf.InSync...)
	}
}

// abandon is what a group does when the device failed.
func (g *group) abandon() {
	g.serving, g.leaseUntil = false, 0
	g.in.active = false
	g.retirePeer()
	g.requeueAll()
	for _, o := range g.held {
		if o.remote != nil {
			o.waiting = false
			g.c.finish(o, disk.ErrFailed)
		}
	}
	g.held = slices.DeleteFunc(g.held, func(o *op) bool { return o.remote != nil })
	g.route()
}
