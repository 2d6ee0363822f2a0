package simnet

import (
	"bytes"
	"slices"
	"time"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/transport"
)

// Endpoint is one running node's end.
type Endpoint struct {
	net     *Net
	self    ident.Node
	handler transport.Handler
	members []ident.Node         // whom it knows; empty: everybody
	peers   map[ident.Node]*half // the current session with each peer
	numbers uint64
	gone    bool // crashed: told nothing more
	frozen  bool
	freezes uint64
	backlog []func() // what waits for Thaw
}

// half is one end's view of a session. The two halves of one session know each
// other; each ends at its own moment.
type half struct {
	number uint64
	path   *path
	twin   *half
	owner  *Endpoint
	flight [][]byte // sent by this half and not yet delivered, in order
	batch  int      // how many of them are on the wire: their arrival is scheduled
	up     bool     // the owner was told
	ended  bool
}

// run calls f now, or when the node is thawed; never after a crash.
func (e *Endpoint) run(f func()) {
	switch {
	case e.gone:
	case e.frozen:
		e.backlog = append(e.backlog, func() {
			if !e.gone {
				f()
			}
		})
	default:
		f()
	}
}

// knows tells whether the key of another is one of its members'.
func (e *Endpoint) knows(other ident.Node) bool {
	return len(e.members) == 0 || slices.Contains(e.members, other)
}

// SendControl sends over the first path that is up.
func (e *Endpoint) SendControl(to ident.Node, msg []byte) {
	if e.gone || len(msg) > transport.MaxControl || !e.knows(to) {
		return
	}
	for _, p := range e.net.paths {
		if !p.joins(e.self, to) || p.dead {
			continue
		}
		w := p.way(e.self)
		copies := 1
		if e.net.rng.Float64() < w.link.Loss || w.cut {
			copies = 0
		} else if e.net.rng.Float64() < w.link.Duplicate {
			copies = 2
		}
		for range copies {
			m := bytes.Clone(msg)
			e.net.sched.After(e.net.travel(w), func() {
				if other := e.net.ends[to]; other != nil && !w.cut && other.knows(e.self) {
					other.run(func() { other.handler.Control(e.self, m) })
				}
			})
		}
		return
	}
}

// Send queues one message on the session; the network has no bound of its own.
func (e *Endpoint) Send(to ident.Node, session uint64, parts ...[]byte) bool {
	h := e.peers[to]
	if e.gone || h == nil || h.number != session {
		return false
	}
	msg := bytes.Join(parts, nil)
	if len(msg) > transport.MaxData {
		return false
	}
	h.flight = append(h.flight, msg)
	e.net.move(h)
	return true
}

// Paths describes the paths of this node in order.
func (e *Endpoint) Paths() []transport.PathStatus {
	var all []transport.PathStatus
	for _, p := range e.net.paths {
		if p.a != e.self && p.b != e.self {
			continue
		}
		peer := p.a
		if peer == e.self {
			peer = p.b
		}
		st := transport.PathStatus{Peer: peer, Path: p.name, Up: !p.dead && e.net.shown[peer]}
		if h := e.peers[peer]; h != nil && h.path == p {
			st.Session = true
		}
		if !st.Up {
			st.Reason = errDead.Error()
		} else {
			st.RoundTrip = p.ways[0].link.Delay + p.ways[1].link.Delay
		}
		all = append(all, st)
	}
	return all
}

func (n *Net) travel(w *way) time.Duration {
	return n.between(w.link.Delay, w.link.Delay+w.link.Jitter)
}

// move puts what a half has sent on the wire. One batch at a time keeps the
// order; what is sent meanwhile follows it, as in a pipe.
func (n *Net) move(h *half) {
	if h.batch > 0 || h.ended || len(h.flight) == 0 || h.path.way(h.owner.self).cut {
		return
	}
	h.batch = len(h.flight)
	n.sched.After(n.travel(h.path.way(h.owner.self)), func() { n.arrive(h) })
}

// arrive delivers what was on the wire, also when the sending end has ended its
// session or crashed meanwhile: the receiver must cope with that.
func (n *Net) arrive(h *half) {
	batch := h.batch
	h.batch = 0
	if h.twin.ended || !h.twin.up || h.path.way(h.owner.self).cut {
		return // lost with the session, or waiting for SessionUp or for the cut to heal
	}
	msgs := h.flight[:batch:batch]
	h.flight = h.flight[batch:]
	to := h.twin.owner
	for _, m := range msgs {
		to.run(func() {
			if !h.twin.ended {
				to.handler.Data(h.owner.self, h.twin.number, m)
			}
		})
	}
	n.move(h)
}

// release moves on what waited for a cut that healed.
func (n *Net) release(p *path) {
	for _, id := range n.order {
		e := n.ends[id]
		if e == nil || p.a != id && p.b != id {
			continue
		}
		other := p.a
		if other == id {
			other = p.b
		}
		if h := e.peers[other]; h != nil && h.path == p {
			n.move(h)
		}
	}
}

// open sees to it that two running nodes get a session soon, if a live data
// path joins them and the dialling end, the lower one, has none.
func (n *Net) open(a, b ident.Node) {
	if a > b {
		a, b = b, a
	}
	n.sched.After(n.between(n.Timing.Open, 2*n.Timing.Open), func() {
		ea, eb := n.ends[a], n.ends[b]
		if ea == nil || eb == nil || !ea.knows(b) || !eb.knows(a) || ea.frozen || eb.frozen || ea.peers[b] != nil {
			return
		}
		i := slices.IndexFunc(n.paths, func(p *path) bool { return p.data && !p.dead && p.joins(a, b) && !p.ways[0].cut && !p.ways[1].cut })
		if i < 0 {
			return
		}
		ha, hb := &half{path: n.paths[i], owner: ea}, &half{path: n.paths[i], owner: eb}
		ha.twin, hb.twin = hb, ha
		// The accepting end is up when it answers the hello, the dialling one when it reads that.
		eb.up(a, hb)
		n.sched.After(n.travel(&n.paths[i].ways[1]), func() { ea.run(func() { ea.greeted(b, ha) }) })
	})
}

// greeted ends the dialling: if meanwhile something else came, or the accepting
// end has already given up, the attempt is over.
func (e *Endpoint) greeted(peer ident.Node, h *half) {
	if e.peers[peer] != nil || h.twin.ended || h.twin.owner.gone {
		h.ended = true
		if !h.twin.ended {
			e.net.sched.After(0, func() { h.twin.owner.down(e.self, h.twin, errReset) })
		}
		e.net.open(e.self, peer)
		return
	}
	e.up(peer, h)
	if h.path.dead {
		e.net.sched.After(e.net.detect(), func() { e.down(peer, h, errDead) })
	}
}

// up makes h the current session, in place of the one before.
func (e *Endpoint) up(peer ident.Node, h *half) {
	if old := e.peers[peer]; old != nil {
		e.down(peer, old, errReplaced)
	}
	e.numbers++
	h.number, h.up = e.numbers, true
	e.peers[peer] = h
	e.handler.SessionUp(peer, h.number, h.path.name)
	e.net.move(h.twin)
}

// down ends one half, if it is current. The other end gets a reset when the
// path still works.
func (e *Endpoint) down(peer ident.Node, h *half, err error) {
	e.run(func() {
		if e.peers[peer] != h {
			return
		}
		delete(e.peers, peer)
		h.ended = true
		h.flight = h.flight[:h.batch]
		e.handler.SessionDown(peer, h.number, err)
		if t := h.twin; !t.ended && !t.owner.gone {
			e.net.sched.After(e.net.travel(h.path.way(e.self)), func() {
				if !h.path.way(e.self).cut {
					t.owner.down(e.self, t, errReset)
					return
				}
				// The reset is lost: the other end notices by the missing answers.
				e.net.sched.After(e.net.Timing.Dead+e.net.detect(), func() { t.owner.down(e.self, t, errDead) })
			})
		}
		e.net.open(e.self, peer)
	})
}
