package transport

import (
	"fmt"

	"beffroi.dev/pkg/ident"
)

// Channel is the first byte of every control message sent through a Mux. The
// numbers are part of the protocol and are never reused.
type Channel byte

// The channels in use.
const (
	ChannelVote Channel = 1 // raft messages and forwarded proposals
	ChannelNode Channel = 2 // what the node services tell each other
	ChannelData Channel = 3 // control messages of the mirror
)

// ControlSender sends control messages; every Endpoint is one.
type ControlSender interface {
	SendControl(to ident.Node, msg []byte)
}

// Mux shares the control messages of one Endpoint between several rooms. It is
// the outermost Handler; what belongs to data sessions goes to Next untouched.
// Routes are set before the endpoint starts.
type Mux struct {
	Next   Handler // sessions; may be nil where no data is kept
	routes map[Channel]func(from ident.Node, msg []byte)
}

// Route hands the messages of ch to f.
func (m *Mux) Route(ch Channel, f func(from ident.Node, msg []byte)) {
	if m.routes == nil {
		m.routes = map[Channel]func(ident.Node, []byte){}
	}
	if m.routes[ch] != nil {
		panic(fmt.Sprintf("transport: channel %d routed twice", ch))
	}
	m.routes[ch] = f
}

// Sender returns a sender whose messages arrive at the route of ch.
func (m *Mux) Sender(ch Channel, end ControlSender) ControlSender {
	return channelSender{ch: ch, end: end}
}

type channelSender struct {
	ch  Channel
	end ControlSender
}

// SendControl sends msg on the channel; it may be one byte shorter than MaxControl.
func (s channelSender) SendControl(to ident.Node, msg []byte) {
	b := make([]byte, 1+len(msg))
	b[0] = byte(s.ch)
	copy(b[1:], msg)
	s.end.SendControl(to, b)
}

// Control hands the message to its route; one of an unknown channel, from a
// newer version, is dropped.
func (m *Mux) Control(from ident.Node, msg []byte) {
	if len(msg) == 0 {
		return
	}
	if f := m.routes[Channel(msg[0])]; f != nil {
		f(from, msg[1:])
	}
}

// SessionUp hands on.
func (m *Mux) SessionUp(peer ident.Node, session uint64, path string) {
	if m.Next != nil {
		m.Next.SessionUp(peer, session, path)
	}
}

// Data hands on.
func (m *Mux) Data(peer ident.Node, session uint64, msg []byte) {
	if m.Next != nil {
		m.Next.Data(peer, session, msg)
	}
}

// SessionDown hands on.
func (m *Mux) SessionDown(peer ident.Node, session uint64, err error) {
	if m.Next != nil {
		m.Next.SessionDown(peer, session, err)
	}
}
