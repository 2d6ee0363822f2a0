package probe

import (
	"bytes"
	"net"
	"slices"
	"time"
)

// Port is a card that is probed.
type Port struct {
	Card string
	MAC  net.HardwareAddr
	Role Role
	MTU  int // of a fibre: the size that must pass; 0 is not checked
}

// Peer is a card heard at the other end of a cable.
type Peer struct {
	Node uint64
	Role Role
	MAC  net.HardwareAddr
	pair [16]byte
	at   time.Time
}

const (
	maxPeers   = 16 // of one port: on a lan others may talk too
	goneAfter  = 3  // intervals
	triesOfMTU = 3
	restOfMTU  = 30 // intervals between checks that succeeded
)

// core decides; it is told of the time and of frames and returns what to send.
type core struct {
	pair     [16]byte
	node     uint64
	interval time.Duration
	ports    []*port
}

type port struct {
	Port
	peers []Peer // the one heard last comes last
	twin  net.HardwareAddr
	mtu   mtuCheck
}

// mtuCheck is how far the search for the passing size has come.
type mtuCheck struct {
	number   uint32
	waiting  int // frames in a row without an echo
	rest     int // intervals until the next check
	verified bool
	failed   bool
}

// tick is called once an interval for each port.
func (c *core) tick(now time.Time, p *port) [][]byte {
	p.peers = slices.DeleteFunc(p.peers, func(q Peer) bool { return now.Sub(q.at) > goneAfter*c.interval })
	out := [][]byte{c.frame(p, hello, 0, 0).bytes(broadcast, p.MAC)}
	twin := c.twin(p)
	if twin == nil || p.MTU == 0 {
		p.twin, p.mtu = nil, mtuCheck{number: p.mtu.number}
		return out
	}
	if !bytes.Equal(twin.MAC, p.twin) {
		p.twin, p.mtu = twin.MAC, mtuCheck{number: p.mtu.number}
	}
	if p.mtu.rest > 0 {
		p.mtu.rest--
		return out
	}
	if p.mtu.waiting >= triesOfMTU {
		p.mtu.verified, p.mtu.failed = false, true
	}
	p.mtu.number++
	p.mtu.waiting++
	return append(out, c.frame(p, size, p.mtu.number, p.MTU).bytes(twin.MAC, p.MAC))
}

func (c *core) frame(p *port, k kind, number uint32, n int) frame {
	return frame{kind: k, role: p.Role, pair: c.pair, node: c.node, number: number, size: n}
}

// twin is the other node of the pair at the end of a fibre, if it is there.
func (c *core) twin(p *port) *Peer {
	for i := range slices.Backward(p.peers) {
		if q := &p.peers[i]; p.Role.fibre() && q.pair == c.pair && q.Node != c.node && q.Role.fibre() {
			return q
		}
	}
	return nil
}

// receive takes a frame and returns the answer, or nothing.
func (c *core) receive(now time.Time, p *port, f frame, src net.HardwareAddr) []byte {
	if bytes.Equal(src, p.MAC) {
		return nil // our own, seen on its way out
	}
	switch f.kind {
	case hello:
		p.peers = slices.DeleteFunc(p.peers, func(q Peer) bool { return bytes.Equal(q.MAC, src) })
		if len(p.peers) == maxPeers {
			p.peers = p.peers[1:]
		}
		p.peers = append(p.peers, Peer{Node: f.node, Role: f.role, MAC: src, pair: f.pair, at: now})
	case size:
		if p.Role.fibre() && f.pair == c.pair && f.node != c.node {
			return c.frame(p, echo, f.number, f.size).bytes(src, p.MAC)
		}
	case echo:
		if f.pair == c.pair && bytes.Equal(src, p.twin) && f.number == p.mtu.number && f.size == p.MTU {
			p.mtu = mtuCheck{number: f.number, rest: restOfMTU, verified: true}
		}
	}
	return nil
}
