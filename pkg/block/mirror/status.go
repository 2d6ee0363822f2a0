package mirror

import (
	"time"

	"beffroi.dev/pkg/ident"
)

// GroupStatus is what a node knows of one group now.
type GroupStatus struct {
	ID       ident.Group
	Epoch    ident.Epoch
	Primary  ident.Node
	InSync   []ident.Node
	Serving  bool // this node leads it and answers
	Readable bool // and holds a lease, or needs none
	// Since is the epoch since which this node leads, without a break in this life, and
	// so the token of a local group's user: nobody else has written in the meantime, so
	// what the user keeps in its memory is true. 0: this node does not lead.
	Since     ident.Epoch
	Copies    int // durable copies of what is acknowledged now: 0 unless serving
	Watermark ident.Seq
	Last      ident.Seq
	Mapped    uint64 // blocks that hold data here
	Pending   int
	Held      int          // requests that wait for a decision
	Proposal  ProposalKind // open, empty when none is
	Resync    *ResyncStatus
}

// ResyncStatus is the progress of a resync that this node feeds.
type ResyncStatus struct {
	Running bool   // false: the twin is away
	Total   uint64 // blocks that were to be copied when it began
	Copied  uint64
	Dirty   uint64 // blocks still to be copied, those written meanwhile included
	For     time.Duration
}

// Status describes a group; ok is false when the node does not know it.
func (c *Core) Status(id ident.Group) (s GroupStatus, ok bool) {
	g := c.groups[id]
	if g == nil {
		return s, false
	}
	s = GroupStatus{
		ID: id, Epoch: g.conf.Epoch, Primary: g.conf.Primary, InSync: g.conf.InSync,
		Since: g.since, Serving: g.serving && g.primary() && c.failed == nil, Readable: c.failed == nil && g.mayRead(),
		Watermark: g.watermark, Last: g.last, Pending: len(g.pending), Held: len(g.held) + len(g.parked),
	}
	for _, v := range g.volumes {
		s.Mapped += v.ext.Mapped()
	}
	if s.Serving {
		s.Copies = len(g.conf.InSync)
	}
	if g.proposal != nil {
		s.Proposal = g.proposal.Kind
	}
	if g.primary() && !g.conf.Has(c.cfg.Peer) {
		s.Resync = &ResyncStatus{Running: g.peer.phase == peerLive, Dirty: blockCount(g.dirty)}
		if s.Resync.Running {
			s.Resync.Total, s.Resync.Copied = g.resync.total, g.resync.copied
			s.Resync.For = c.now.Sub(g.resync.since)
		}
	}
	return s, true
}

// EachBlock calls f for every committed block of a group on this node.
func (c *Core) EachBlock(id ident.Group, f func(v ident.Volume, lba, loc uint64, sum uint32)) {
	g := c.groups[id]
	if g == nil {
		return
	}
	for _, v := range g.volumes {
		v.ext.Each(func(lba, loc uint64, sum uint32) bool { f(v.id, lba, loc, sum); return true })
	}
}

// Space tells how many blocks of the store are free for data, and how many it
// has.
func (c *Core) Space() (free, capacity uint64) {
	free = c.log.Free()
	if r := c.log.Reserve(); free > r {
		free -= r
	} else {
		free = 0
	}
	return free, c.log.Capacity()
}

// Session is the current data session with the twin, 0 when there is none.
func (c *Core) Session() uint64 { return c.session }

// VolumeSize is the size of a volume in bytes, 0 before its group was configured
// in this life.
func (c *Core) VolumeSize(id ident.Group, v ident.Volume) int64 {
	if g := c.groups[id]; g != nil {
		return g.volume(v).size
	}
	return 0
}
