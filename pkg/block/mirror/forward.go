package mirror

import (
	"errors"
	"slices"

	"beffroi.dev/pkg/disk"
)

// replyCode is the outcome of a forwarded request on the wire.
type replyCode uint8

const (
	replyOK replyCode = iota
	replyMoved
	replyNoSpace
	replyRange
	replyNotSupported
	replyTimeout
	replyIO
	replyClosed
)

var replyErrors = [...]error{
	replyMoved: errMoved, replyNoSpace: disk.ErrNoSpace, replyRange: disk.ErrOutOfRange,
	replyNotSupported: disk.ErrNotSupported, replyTimeout: disk.ErrTimeout, replyIO: errRemoteIO, replyClosed: disk.ErrClosed,
}

var errRemoteIO = errors.New("input/output error at the twin")

func codeOf(err error) replyCode {
	if err == nil {
		return replyOK
	}
	for code, e := range replyErrors {
		if e != nil && errors.Is(err, e) {
			return replyCode(code)
		}
	}
	return replyIO
}

// forwardTo sends a request to the peer, if the peer leads the group and can be
// reached.
func (g *group) forwardTo(o *op) bool {
	c := g.c
	if c.session == 0 || g.entering != nil || g.conf.Primary != c.cfg.Peer || g.candidate() {
		return false
	}
	c.nextID++
	r := o.req
	m := forward{id: c.nextID, group: g.id, epoch: g.conf.Epoch, volume: o.vol, token: o.token, op: r.Op, flags: r.Flags, off: r.Off, n: r.Len}
	if r.Op == disk.Write {
		// The client gets its buffer back if the request times out.
		m.data = slices.Clone(r.Data)
	}
	c.forwards[m.id] = o
	c.sentOrder = append(c.sentOrder, m.id)
	c.send(m.parts()...)
	return true
}

// receiveForward carries out a request of the peer's clients.
func (c *Core) receiveForward(m forward) {
	o := &op{
		vol: m.volume, token: m.token, remote: &remote{c.session, m.id, m.epoch}, deadline: c.now.Add(c.cfg.Timing.Hold),
		req: &disk.Request{Op: m.op, Flags: m.flags, Off: m.off, Len: m.n, Data: m.data},
	}
	g := c.groups[m.group]
	if g == nil || c.failed != nil || !g.primary() || g.knownEpoch() != m.epoch {
		o.g = g
		c.finish(o, errMoved)
		return
	}
	if m.op == disk.Read {
		o.req.Data = disk.Aligned(m.n)
	}
	c.dispatch(g, o)
}

// answer sends the reply to a forwarded request.
func (c *Core) answer(o *op, err error) {
	if o.remote.session != c.session {
		return
	}
	m := reply{id: o.remote.id, code: codeOf(err)}
	if err == nil {
		if o.req.Op == disk.Read {
			m.data = o.req.Data
		}
		m.extents = o.req.Extents
	}
	c.send(m.parts()...)
}

func (c *Core) receiveReply(m reply) {
	o := c.forwards[m.id]
	if o == nil {
		return
	}
	c.forget(m.id)
	switch {
	case m.code == replyMoved:
		o.waiting = true
		o.g.held = append(o.g.held, o) // tried again at the next tick, not at once
	case m.code != replyOK:
		err := error(errRemoteIO)
		if int(m.code) < len(replyErrors) {
			err = replyErrors[m.code]
		}
		c.finish(o, err)
	case o.req.Op == disk.Read && len(m.data) != len(o.req.Data):
		c.stats.Malformed++
		c.finish(o, errRemoteIO)
	default:
		copy(o.req.Data, m.data[:min(len(m.data), len(o.req.Data))])
		o.req.Extents = m.extents
		c.finish(o, nil)
	}
}

func (c *Core) forget(id uint64) {
	delete(c.forwards, id)
	if i := slices.Index(c.sentOrder, id); i >= 0 {
		c.sentOrder = slices.Delete(c.sentOrder, i, i+1)
	}
}

// holdForwards makes the requests that are with the peer undecided again: the
// session that carried them is gone.
func (c *Core) holdForwards() {
	for _, id := range c.sentOrder {
		o := c.forwards[id]
		o.waiting = true
		o.g.held = append(o.g.held, o)
	}
	c.sentOrder = nil
	clear(c.forwards)
}

// forgetRemote drops the undecided requests of the session that is gone. The
// peer will send them again; carried out later, out of their order, they could
// overwrite something newer.
func (c *Core) forgetRemote() {
	for _, g := range c.order {
		g.held = slices.DeleteFunc(g.held, func(o *op) bool {
			o.finished = o.finished || o.remote != nil
			return o.remote != nil
		})
	}
}

func (c *Core) retryForwards() {
	for _, g := range c.order {
		g.route()
	}
}

// expireForwards answers those that have waited too long.
func (c *Core) expireForwards() {
	for _, id := range slices.Clone(c.sentOrder) {
		if o := c.forwards[id]; c.now >= o.deadline {
			c.forget(id)
			c.finish(o, disk.ErrTimeout)
		}
	}
}
