package transport

import (
	"time"

	"beffroi.dev/pkg/ident"
)

// MaxControl is the longest control message, in bytes: room for a snapshot of
// the cluster state, small enough never to delay a ping by much.
const MaxControl = 1 << 20

// MaxData is the longest data message, in bytes: it bounds what a peer can make
// us allocate at once.
const MaxData = 16 << 20

// Endpoint is one end of the mesh. Its methods never block for long and may be
// called concurrently, also from within a Handler.
type Endpoint interface {
	// SendControl sends a small message (at most MaxControl) best effort over the
	// best live path: it may be lost, duplicated or reordered. The message must
	// not be modified afterwards.
	SendControl(to ident.Node, msg []byte)
	// Send queues parts as one message on the data session. It reports false if
	// that session is no longer the current one, or if its queue is full. What it
	// queued arrives in order and exactly once, unless the session ends first.
	// The parts belong to the endpoint: they must not be modified afterwards.
	Send(to ident.Node, session uint64, parts ...[]byte) bool
	// Paths describes every path to every peer, in configured order.
	Paths() []PathStatus
}

// Handler is told what arrives. The calls for one peer come one at a time; they
// must not block for long. A msg belongs to the handler.
type Handler interface {
	Control(from ident.Node, msg []byte)
	// SessionUp announces a data session. Numbers grow with each session of a
	// peer, and are local: the two ends may number the same session differently.
	SessionUp(peer ident.Node, session uint64, path string)
	Data(peer ident.Node, session uint64, msg []byte)
	SessionDown(peer ident.Node, session uint64, err error)
}

// PathStatus describes one path to one peer.
type PathStatus struct {
	Peer      ident.Node    `json:"peer"`
	Path      string        `json:"path"`
	Up        bool          `json:"up"`         // a round trip was seen recently
	Session   bool          `json:"session"`    // it carries the data session now
	RoundTrip time.Duration `json:"round_trip"` // the last one seen
	BytesIn   uint64        `json:"bytes_in"`
	BytesOut  uint64        `json:"bytes_out"`
	Reason    string        `json:"reason,omitempty"` // why it is down
}
