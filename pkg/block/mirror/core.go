package mirror

import (
	"fmt"
	"log/slog"
	"slices"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// Core is one node's mirror: all groups over one log. It is owned by one
// goroutine; none of its methods blocks.
type Core struct {
	cfg    Config
	log    *seglog.Log
	slog   *slog.Logger
	now    clock.Instant
	groups map[ident.Group]*group
	order  []*group // by number, so that no map order decides anything

	session   uint64 // of the peer, 0 when there is none
	sessionAt clock.Instant
	attempts  uint64
	lastBeat  clock.Instant
	peerFree  uint64 // blocks the peer's store said it can take
	failed    error  // of the device: this node leads and follows nothing any more

	forwards   map[uint64]*op    // sent to the peer, by number
	fetches    map[uint64]wanted // rotten blocks, asked of the peer
	fetchOrder []uint64
	reading    map[*op]bool // reads that are with the device
	sentOrder  []uint64     // numbers of forwards, oldest first
	nextID     uint64

	out   []*frame.Record // stream records for the peer that are not sent yet
	outN  int             // blocks of payload in out
	acks  bool            // a follow section is due
	leads bool            // a lead section is due
	ready Ready
	check *checkpointing
	stats Stats
}

// Ready is what the engine must do after a call. It is valid until the next one.
type Ready struct {
	Write     *seglog.Write // write it durably, then FrameDone
	Reads     []*Read       // read and verify, then ReadDone
	Sends     []Send
	Proposals []Proposal      // answer each with ProposalDone
	Done      []*disk.Request // call Done of each
	Save      *Save           // write the checkpoint, then SaveDone
}

// Send is one message for the peer's session. The engine drops it when the
// session is gone.
type Send struct {
	Session uint64
	Parts   [][]byte
}

// Stats counts what happened since the start.
type Stats struct {
	Frames        uint64
	Records       uint64
	Acked         uint64 // requests answered without an error
	ResyncBlocks  uint64 // copied to the peer
	Malformed     uint64 // messages dropped
	Fenced        uint64 // sections of old epochs refused
	CorruptReads  uint64
	Repaired      uint64 // blocks healed from the peer
	FullResyncs   uint64
	DeltaResyncs  uint64
	DiscardedTail uint64 // records dropped when rejoining
}

// Stats returns the counters.
func (c *Core) Stats() Stats { return c.stats }

// Failed is the failure of the device, if there was one.
func (c *Core) Failed() error { return c.failed }

// Take returns what is to be done since the last call and forgets it.
func (c *Core) Take() Ready {
	c.pump()
	r := c.ready
	c.ready = Ready{}
	return r
}

// pump builds the next frame and flushes what waits for the peer.
func (c *Core) pump() {
	if c.failed == nil && c.ready.Write == nil {
		for _, g := range c.order {
			g.noteCommit()
		}
		if w := c.log.Next(); w != nil {
			c.ready.Write = w
			c.stats.Frames++
			c.stats.Records += uint64(len(w.Records))
		}
	}
	// What goes to the disk together goes to the peer together: records wait
	// for the frame in flight, unless there is plenty.
	if len(c.out) > 0 && (c.ready.Write != nil || !c.log.InFlight() || c.outN >= frame.MaxPayload) {
		c.leads = true
	}
	c.flushBeat()
}

// FrameDone reports that the frame of Ready.Write is durable, or that the
// device failed.
func (c *Core) FrameDone(w *seglog.Write, err error) {
	if err != nil {
		c.fail(err)
		return
	}
	records := w.Records
	at := w.At
	c.log.Done()
	for i, r := range records {
		if g := c.groups[r.Group]; g != nil {
			g.recordDurable(r, at, i)
		}
	}
	for _, g := range c.order {
		g.advance()
	}
	c.maybeSave()
}

// fail stops everything that needs the device. The node behaves as if it were
// gone, so that its twin takes over; its own clients are served by forwarding.
func (c *Core) fail(err error) {
	if c.failed != nil {
		return
	}
	c.failed = fmt.Errorf("store failed: %w", err)
	c.slog.Error("store failed; this node leaves its groups to the twin", "error", err)
	for _, g := range c.order {
		g.abandon()
	}
}

// Tick lets time pass. Call it at least every half heartbeat.
func (c *Core) Tick(now clock.Instant) {
	c.now = now
	for _, g := range c.order {
		g.tick()
	}
	c.expireForwards()
	if c.session != 0 && c.failed == nil && now.Sub(c.lastBeat) >= c.cfg.Timing.Heartbeat {
		c.leads, c.acks = true, true
	}
	c.maybeSave()
}

// SetNow tells the time without letting timers fire; call it before other calls.
func (c *Core) SetNow(now clock.Instant) { c.now = max(c.now, now) }

// SessionUp reports a new data session with the peer.
func (c *Core) SessionUp(session uint64) {
	c.session, c.sessionAt = session, c.now
	c.peerFree = 0
	c.lastBeat = c.now - clock.Instant(c.cfg.Timing.Heartbeat)
	for _, g := range c.order {
		g.sessionUp()
	}
	c.retryForwards()
}

// SessionDown reports that the data session is gone.
func (c *Core) SessionDown(session uint64) {
	if session != c.session {
		return
	}
	c.session = 0
	c.sessionAt = c.now
	c.out, c.outN = nil, 0
	for _, g := range c.order {
		g.sessionDown()
	}
	c.endFetches()
	c.holdForwards()
	c.forgetRemote()
}

// Receive takes a message of the peer's session. The message belongs to Core.
func (c *Core) Receive(session uint64, msg []byte) {
	if session != c.session || c.session == 0 || len(msg) == 0 {
		return
	}
	var err error
	kind, body := msg[0], msg[1:]
	switch kind {
	case msgBeat:
		var b beat
		if b, err = parseBeat(body); err == nil {
			c.receiveBeat(b)
		}
	case msgInvite:
		var m invite
		if m, err = parseInvite(body); err == nil {
			c.receiveInvite(m)
		}
	case msgJoin:
		var m join
		if m, err = parseJoin(body); err == nil {
			c.receiveJoin(m)
		}
	case msgStream:
		var m stream
		if m, err = parseStream(body); err == nil {
			c.receiveStream(m)
		}
	case msgForward:
		var m forward
		if m, err = parseForward(body); err == nil {
			c.receiveForward(m)
		}
	case msgReply:
		var m reply
		if m, err = parseReply(body); err == nil {
			c.receiveReply(m)
		}
	case msgFetch:
		var m fetch
		if m, err = parseFetch(body); err == nil {
			c.receiveFetch(m)
		}
	case msgFetched:
		var m fetched
		if m, err = parseFetched(body); err == nil {
			c.receiveFetched(m)
		}
	default:
		err = fmt.Errorf("%w: type %d", errMessage, kind)
	}
	if err != nil {
		if c.stats.Malformed++; c.stats.Malformed&(c.stats.Malformed-1) == 0 { // 1st, 2nd, 4th, ...: a bounded log
			c.slog.Warn("message from the twin dropped", "error", err, "count", c.stats.Malformed)
		}
	}
}

func (c *Core) send(parts ...[]byte) {
	if c.session != 0 {
		c.ready.Sends = append(c.ready.Sends, Send{c.session, parts})
	}
}

// flushBeat sends one beat with all that is due.
func (c *Core) flushBeat() {
	if c.session == 0 || c.failed != nil {
		c.out, c.outN, c.leads, c.acks = nil, 0, false, false
		return
	}
	if !c.leads && !c.acks {
		return
	}
	var b beat
	for _, g := range c.order {
		if c.acks {
			if f, ok := g.followSection(); ok {
				b.follows = append(b.follows, f)
			}
		}
		if c.leads {
			if l, ok := g.leadSection(); ok {
				b.leads = append(b.leads, l)
			}
		}
	}
	if c.leads {
		c.lastBeat = c.now
		b.records = c.out
		c.out, c.outN = nil, 0
	}
	c.leads, c.acks = false, false
	for len(b.leads)+len(b.follows) > 0 {
		part := b
		if n := fitting(b.records); n < len(b.records) {
			part.records, b.records = b.records[:n], b.records[n:]
			b.follows = nil
		} else {
			b = beat{}
		}
		c.send(beatParts(part)...)
	}
}

// fitting is how many of the records go into one message.
func fitting(records []*frame.Record) int {
	blocks := 0
	for i, r := range records {
		if r.Kind.HasPayload() {
			blocks += int(r.Count)
		}
		if i > 0 && (blocks > frame.MaxPayload || i == frame.MaxRecords) {
			return i
		}
	}
	return len(records)
}

func (c *Core) receiveBeat(b beat) {
	for _, l := range b.leads {
		if g := c.groups[l.group]; g != nil {
			g.receiveLead(l)
		}
	}
	for _, r := range b.records {
		if g := c.groups[r.Group]; g != nil {
			g.receiveRecord(r, b.leads)
		}
	}
	for _, l := range b.leads {
		if g := c.groups[l.group]; g != nil {
			g.advance()
		}
	}
	for _, f := range b.follows {
		if f.free != 0 {
			c.peerFree = f.free
		}
		if g := c.groups[f.group]; g != nil {
			g.receiveFollow(f)
		}
	}
	if len(b.leads) > 0 && len(b.records) == 0 {
		c.acks = true // a lease request is answered at once; records are acked when durable
	}
}

// group returns the state of a group, made if it is new to this node.
func (c *Core) group(id ident.Group) *group {
	g := c.groups[id]
	if g == nil {
		g = newGroup(c, id)
		c.groups[id] = g
		i, _ := slices.BinarySearchFunc(c.order, id, func(g *group, id ident.Group) int { return int(g.id) - int(id) })
		c.order = slices.Insert(c.order, i, g)
	}
	return g
}

// Configure tells what the vote decided: all groups of one state of it. next is the
// identity that the next group will get, so a group below it that is not in specs
// was deleted, and is dropped. One at or above it is unknown to a state that is
// older than the group, as a node hears first when it starts and reads its votes
// anew; it must never be taken for deleted.
func (c *Core) Configure(specs []GroupSpec, next ident.Group) {
	known := map[ident.Group]bool{}
	for _, s := range specs {
		known[s.ID] = true
		c.configure(s)
	}
	for _, id := range c.Groups() {
		if !known[id] && (id < next || mutant.dropUnknown) {
			c.drop(id)
		}
	}
}

// configure is idempotent; an older epoch than the one known changes nothing.
func (c *Core) configure(spec GroupSpec) {
	g := c.group(spec.ID)
	g.setVolumes(spec.Volumes)
	g.setFence(spec.Token, spec.Local)
	if c.failed != nil {
		// Nothing can be made durable here: the configuration only tells where
		// to forward to.
		if spec.Conf.Epoch > g.conf.Epoch {
			g.conf, g.since = spec.Conf, 0
			g.route()
		}
		return
	}
	g.learn(spec.Conf)
}

// drop forgets a group that was deleted, and frees its space.
func (c *Core) drop(id ident.Group) {
	g := c.groups[id]
	if g == nil || c.failed != nil {
		return
	}
	g.drop()
	delete(c.groups, id)
	c.order = slices.DeleteFunc(c.order, func(o *group) bool { return o == g })
	c.log.Append(&frame.Record{Kind: frame.Drop, Group: id})
}

// ProposalDone reports the outcome of a proposal.
func (c *Core) ProposalDone(p Proposal, o Outcome) {
	if g := c.groups[p.Group]; g != nil {
		g.proposalDone(p, o)
	}
}

// Groups lists the groups this node knows, by number.
func (c *Core) Groups() []ident.Group {
	ids := make([]ident.Group, len(c.order))
	for i, g := range c.order {
		ids[i] = g.id
	}
	return ids
}

// Close answers every request that is still undecided with disk.ErrClosed. No
// read may be with the device any more.
func (c *Core) Close() {
	for _, g := range c.order {
		for _, p := range g.pending {
			if p.op != nil {
				c.finish(p.op, disk.ErrClosed)
			}
		}
		for _, o := range slices.Concat(g.held, g.parked) {
			c.finish(o, disk.ErrClosed)
		}
		for _, k := range g.rmwKeys() {
			for _, o := range g.rmw[k].waiting {
				c.finish(o, disk.ErrClosed)
			}
		}
	}
	for _, id := range c.sentOrder {
		c.finish(c.forwards[id], disk.ErrClosed)
	}
	for o := range c.reading { // in any order: the end has none
		c.finish(o, disk.ErrClosed)
	}
}
