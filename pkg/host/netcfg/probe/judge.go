package probe

import (
	"bytes"
	"fmt"
	"slices"
)

// Kind of a fault.
type Kind string

// The faults of a port.
const (
	NoCarrier  Kind = "no-carrier" // the cable carries no light
	NoPeer     Kind = "no-peer"    // the cable carries, but nobody speaks
	Crossed    Kind = "crossed"    // fibre1 of one end is fibre2 of the other
	OnLan      Kind = "on-lan"     // a fibre and the lan meet
	Loop       Kind = "loop"       // a cable from the node to itself
	WrongPort  Kind = "wrong-port" // the twin's fibre ends in a card without that role
	FarPort    Kind = "far-port"   // our fibre ends in a card of the twin that has no role
	Foreign    Kind = "foreign"    // the other end is of another pair
	Identity   Kind = "identity"   // another machine says that it is this node
	MTUTooLong Kind = "mtu"        // frames of the fibre's size do not pass
	NoCard     Kind = "no-card"    // the card is gone
)

// Kinds lists all of them.
func Kinds() []Kind {
	return []Kind{NoCarrier, NoPeer, Crossed, OnLan, Loop, WrongPort, FarPort, Foreign, Identity, MTUTooLong, NoCard}
}

// Fault is something wrong with a cable, for a program (Kind) and a person (Text).
type Fault struct {
	Kind Kind   `json:"kind"`
	Text string `json:"text"`
}

// Report is what is known of one port.
type Report struct {
	Role        string  `json:"role"`
	Card        string  `json:"card"`
	Carrier     bool    `json:"carrier"`
	Speed       int     `json:"speed,omitempty"` // Mbit/s
	Peer        uint64  `json:"peer,omitempty"`  // the twin's node, when it is there
	PeerRole    string  `json:"peerRole,omitempty"`
	Sole        bool    `json:"sole,omitempty"`        // nobody but the twin is there, on one card
	CrossedWith string  `json:"crossedWith,omitempty"` // the role whose cable this is
	MTU         int     `json:"mtu,omitempty"`         // the size to pass
	MTUVerified bool    `json:"mtuVerified"`
	Faults      []Fault `json:"faults,omitempty"`
}

func (r *Report) fault(k Kind, format string, args ...any) {
	if !slices.ContainsFunc(r.Faults, func(f Fault) bool { return f.Kind == k }) {
		r.Faults = append(r.Faults, Fault{k, fmt.Sprintf(format, args...)})
	}
}

func (r *Report) crossed(k Kind, with Role, format string, args ...any) {
	r.CrossedWith = with.String()
	r.fault(k, format, args...)
}

// judge says what the frames heard on a port mean.
func (c *core) judge(p *port, carrier bool) Report {
	r := Report{Role: p.Role.String(), Card: p.Card, Carrier: carrier, MTU: p.MTU, MTUVerified: p.mtu.verified}
	if !carrier {
		r.MTUVerified = false
		if p.Role != None {
			r.fault(NoCarrier, "%s: no signal on %s", p.Role, p.Card)
		}
		return r
	}
	for _, q := range p.peers {
		switch {
		case q.Node == c.node && q.pair == c.pair:
			c.judgeSelf(&r, p, q)
		case q.pair == c.pair:
			judgeTwin(&r, p, q)
		case p.Role.fibre() && q.pair != [16]byte{}:
			r.fault(Foreign, "%s: a node of another pair is at the other end", p.Role)
		}
	}
	r.Sole = len(p.peers) == 1 && r.Peer != 0
	if p.Role.fibre() && len(p.peers) == 0 {
		r.fault(NoPeer, "%s: there is a signal on %s, but nobody speaks", p.Role, p.Card)
	}
	if p.mtu.failed {
		r.fault(MTUTooLong, "%s: frames of %d bytes do not pass", p.Role, p.MTU)
	}
	return r
}

// judgeSelf: a frame in this node's name came from outside.
func (c *core) judgeSelf(r *Report, p *port, q Peer) {
	i := slices.IndexFunc(c.ports, func(o *port) bool { return bytes.Equal(o.MAC, q.MAC) })
	switch {
	case i < 0:
		r.fault(Identity, "the machine with the card %v says that it is this node", q.MAC)
	case p.Role == Lan && q.Role.fibre():
		r.crossed(OnLan, q.Role, "lan: %s (%s) is plugged into the same network", q.Role, c.ports[i].Card)
	case p.Role.fibre() && q.Role == Lan:
		r.crossed(OnLan, Lan, "%s: %s is plugged into the lan", p.Role, p.Card)
	case p.Role.fibre() || q.Role.fibre():
		r.crossed(Loop, q.Role, "%s: %s is joined to this node's own %s", p.Role, p.Card, c.ports[i].Card)
	}
}

// judgeTwin: the other node of the pair spoke.
func judgeTwin(r *Report, p *port, q Peer) {
	if p.Role == q.Role || p.Role.fibre() || q.Role.fibre() {
		r.Peer, r.PeerRole = q.Node, q.Role.String()
	}
	switch {
	case p.Role == q.Role:
	case p.Role.fibre() && q.Role.fibre():
		r.crossed(Crossed, q.Role, "%s: the other end is the twin's %s; the fibres are crossed", p.Role, q.Role)
	case p.Role.fibre() && q.Role == Lan:
		r.crossed(OnLan, Lan, "%s: the twin's lan is heard on %s", p.Role, p.Card)
	case p.Role == Lan && q.Role.fibre():
		r.crossed(OnLan, q.Role, "lan: the twin's %s is heard on %s", q.Role, p.Card)
	case q.Role.fibre():
		r.crossed(WrongPort, q.Role, "%s is plugged into %s, which has no role", q.Role, p.Card)
	case p.Role.fibre():
		r.fault(FarPort, "%s: the other end is a card of the twin that has no role", p.Role)
	}
}
