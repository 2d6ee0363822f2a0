// Package status is the read model that every face shows: the console, the
// operator's command line and the lab. It holds plain structs and computes
// nothing.
//
// Each service of a node reports its part to the node service, which adds its
// own and gives the whole to whoever asks. A part that was not reported lately
// says so by its age; it is never made up.
package status

import (
	"time"

	"beffroi.dev/pkg/ident"
)

// Node is one node as it sees itself and the others now.
type Node struct {
	Name     string     `json:"name"`
	ID       ident.Node `json:"id"`
	Kind     string     `json:"kind"` // node or witness
	Site     string     `json:"site"`
	Profile  string     `json:"profile"` // of the timing
	Time     time.Time  `json:"time"`
	Votes    Votes      `json:"votes"`
	Links    []Link     `json:"links"`
	Store    *Store     `json:"store,omitempty"`          // of the block service
	VMs      []VM       `json:"vms,omitempty"`            // of the vm service: those running here
	Citizen  *Citizen   `json:"citizen,omitempty"`        // of the citizen service
	Services []Service  `json:"services,omitempty"`       // of init: the services of this node
	Clock    *Clock     `json:"clock,omitempty"`          // of init: what it did to the clock
	WrongMS  int64      `json:"clock_wrong_ms,omitempty"` // to be added to this node's clock, by those of two others
	Cables   []Cable    `json:"cables,omitempty"`         // of init: which cable is plugged where
	Address  bool       `json:"address"`                  // this node holds the service address
	Members  []Member   `json:"members"`
	Groups   []Group    `json:"groups"`   // as voted
	AllVMs   []PlacedVM `json:"all_vms"`  // as voted
	Events   []Event    `json:"events"`   // newest last
	Problem  []Problem  `json:"problems"` // what an operator should know, worst first
}

// Votes is the state of the vote as this voter sees it.
type Votes struct {
	Role      string     `json:"role"` // leader, follower, candidate, pre-candidate
	Leader    ident.Node `json:"leader"`
	Term      uint64     `json:"term"`
	Index     uint64     `json:"index"`      // of the newest state known
	Vouched   bool       `json:"vouched"`    // a majority vouches for this node now
	VouchedMS int64      `json:"vouched_ms"` // how long ago it did; -1: never
}

// Link is one path to another voter.
type Link struct {
	Peer        ident.Node `json:"peer"`
	Path        string     `json:"path"` // fibre1, fibre2, lan
	Kind        string     `json:"kind"` // vote or data
	Up          bool       `json:"up"`
	Data        bool       `json:"data"` // the data session runs over it now
	RoundTripUS int64      `json:"round_trip_us"`
	BytesIn     uint64     `json:"bytes_in"`
	BytesOut    uint64     `json:"bytes_out"`
	Reason      string     `json:"reason,omitempty"` // why it is down
}

// Store is a node's block store.
type Store struct {
	Age      int64        `json:"age_ms"` // since it was reported
	Free     int64        `json:"free_bytes"`
	Capacity int64        `json:"capacity_bytes"`
	Linked   bool         `json:"linked"` // a data session with the twin stands
	Failed   string       `json:"failed,omitempty"`
	Groups   []LocalGroup `json:"groups"`
	Links    []Link       `json:"links"`
	Counters Counters     `json:"counters"`
}

// Counters of a store, since its service started.
type Counters struct {
	Frames       uint64 `json:"frames"`
	Records      uint64 `json:"records"`
	Acked        uint64 `json:"acked"`
	ResyncBytes  uint64 `json:"resync_bytes"`
	DeltaResyncs uint64 `json:"delta_resyncs"`
	FullResyncs  uint64 `json:"full_resyncs"`
	Corrupt      uint64 `json:"corrupt_reads"`
	Malformed    uint64 `json:"malformed_messages"`
	Fenced       uint64 `json:"fenced_messages"`
}

// LocalGroup is what a node's store knows of a group.
type LocalGroup struct {
	ID        ident.Group  `json:"id"`
	Epoch     ident.Epoch  `json:"epoch"`
	Primary   ident.Node   `json:"primary"`
	InSync    []ident.Node `json:"in_sync"`
	Serving   bool         `json:"serving"`  // leads it and answers
	Readable  bool         `json:"readable"` // and holds a lease, or needs none
	Since     ident.Epoch  `json:"since"`    // it leads since this epoch without a break; 0: it does not lead
	Copies    int          `json:"copies"`   // durable copies of what is acknowledged now
	Watermark ident.Seq    `json:"watermark"`
	Last      ident.Seq    `json:"last"`
	Bytes     int64        `json:"bytes"` // that hold data here
	Pending   int          `json:"pending"`
	Held      int          `json:"held"`
	Change    string       `json:"change,omitempty"` // a proposal that is open
	Resync    *Resync      `json:"resync,omitempty"`
}

// Resync is the progress of taking the twin up to date.
type Resync struct {
	Running     bool  `json:"running"`
	TotalBytes  int64 `json:"total_bytes"`
	CopiedBytes int64 `json:"copied_bytes"`
	DirtyBytes  int64 `json:"dirty_bytes"`
	ForMS       int64 `json:"for_ms"`
	LeftMS      int64 `json:"left_ms"` // expected; -1: not known
}

// Percent of a resync that is done.
func (r Resync) Percent() int {
	if whole := r.CopiedBytes + r.DirtyBytes; whole > 0 {
		return int(100 * r.CopiedBytes / whole)
	}
	return 100
}

// VM is a virtual machine that a node runs, or tried to.
type VM struct {
	ID    ident.VM  `json:"id"`
	Name  string    `json:"name"`
	State string    `json:"state"` // stopped, starting, running, paused, paused-io, shutting-down, failed
	Cause string    `json:"cause,omitempty"`
	Since time.Time `json:"since"`
	PID   int       `json:"pid,omitempty"`
	Accel string    `json:"accel,omitempty"` // kvm or tcg
	// Generation under which it was started here.
	Generation uint64 `json:"generation"`
	QMP        string `json:"qmp,omitempty"`    // socket
	Serial     string `json:"serial,omitempty"` // socket
	// Network is why its cards are connected to nothing: NetworkProcess; empty when
	// they are as voted.
	Network string `json:"network,omitempty"`
}

// NetworkProcess: the node is a process of somebody's machine, where nobody may make
// taps; its guests run without network cards.
const NetworkProcess = "none-in-process-mode"

// Citizen is the citizen service of a node.
type Citizen struct {
	Age     int64  `json:"age_ms"`
	Serving bool   `json:"serving"` // it has the database open
	Proxy   bool   `json:"proxy"`   // it hands citizens on to the other node
	Copies  int    `json:"copies"`
	Cause   string `json:"cause,omitempty"` // why it does not serve
	URL     string `json:"url"`
}

// Member is one voter of the pair.
type Member struct {
	ID   ident.Node `json:"id"`
	Name string     `json:"name"`
	Kind string     `json:"kind"`
	Site string     `json:"site"`
	Up   bool       `json:"up"` // some path to it is up, or it is this one
}

// Group is a volume group as voted.
type Group struct {
	ID        ident.Group  `json:"id"`
	Name      string       `json:"name"`
	Primary   ident.Node   `json:"primary"`
	Preferred ident.Node   `json:"preferred"`
	InSync    []ident.Node `json:"in_sync"`
	Epoch     ident.Epoch  `json:"epoch"`
	Citizen   bool         `json:"citizen"` // it is the citizen service's
	Volumes   []Volume     `json:"volumes"`
}

// Volume is one volume of a group.
type Volume struct {
	ID   ident.Volume `json:"id"`
	Name string       `json:"name"`
	Size int64        `json:"size_bytes"`
}

// PlacedVM is a VM as voted.
type PlacedVM struct {
	ID         ident.VM    `json:"id"`
	Name       string      `json:"name"`
	Group      ident.Group `json:"group"`
	CPUs       int         `json:"cpus"`
	MemoryMB   int         `json:"memory_mb"`
	Run        bool        `json:"run"`
	Cards      []string    `json:"cards"` // addresses of its network cards
	Node       ident.Node  `json:"node"`
	Generation uint64      `json:"generation"`
}

// Event is one line of the pair's history.
type Event struct {
	No    uint64     `json:"no"`
	Time  time.Time  `json:"time"`
	Kind  string     `json:"kind"`
	Node  ident.Node `json:"node,omitempty"`
	Group string     `json:"group,omitempty"`
	VM    string     `json:"vm,omitempty"`
	Old   string     `json:"old,omitempty"`
	New   string     `json:"new,omitempty"`
	Cause string     `json:"cause,omitempty"`
}

// Problem is something that an operator should know. Code is stable; faces turn
// it into advice in the reader's language.
type Problem struct {
	Code   string `json:"code"`  // twin-silent, witness-silent, link-down, solo, resync, store-failed, store-full, vm-paused, no-majority, cable-CODE of a Flaw, service-failing, state-full, clock-wrong, clock-corrected, clocks-differ
	Level  string `json:"level"` // error, warning, info
	Object string `json:"object,omitempty"`
}
