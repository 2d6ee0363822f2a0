package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"beffroi.dev/pkg/ident"
)

// Version is the state's format. History:
//
//	1  first
//	2  VMs have network cards; a VM of version 1 gets DefaultCards
const Version = 2

// ErrVersion is wrapped by Decode for a state that a newer version wrote.
var ErrVersion = errors.New("cluster state of a newer version")

// Kind tells the two kinds of voter apart.
type Kind string

// The kinds of voter.
const (
	KindNode    Kind = "node"    // holds data and runs guests
	KindWitness Kind = "witness" // holds votes only
)

// Durability says what an acknowledged write of a group has survived.
type Durability string

// The durabilities.
const (
	Strict   Durability = "strict"   // on the disks of every in-sync member
	Buffered Durability = "buffered" // in their memory; on disk after a flush
)

// Node is one voter.
type Node struct {
	Name      string     `json:"name"`
	Kind      Kind       `json:"kind"`
	Site      string     `json:"site"`
	PublicKey []byte     `json:"public_key"`
	Replica   ident.UUID `json:"replica"` // of its store; zero for a witness, or while it has none
}

// Cut is a position in the history of a group.
type Cut struct {
	Epoch ident.Epoch `json:"epoch"`
	Seq   ident.Seq   `json:"seq"`
}

// Before reports whether c lies before d.
func (c Cut) Before(d Cut) bool { return c.Epoch < d.Epoch || c.Epoch == d.Epoch && c.Seq < d.Seq }

// Config is one configuration of a group; there is exactly one for each epoch.
type Config struct {
	Epoch   ident.Epoch  `json:"epoch"`
	Primary ident.Node   `json:"primary"`
	InSync  []ident.Node `json:"in_sync"` // sorted, with the primary
	Cut     Cut          `json:"cut"`     // where the history of earlier epochs ends
	Lineage uint64       `json:"lineage"` // changes only when loss is accepted (R10)
}

// Has reports whether n is in the in-sync set.
func (c Config) Has(n ident.Node) bool { return slices.Contains(c.InSync, n) }

// Volume is one disk of a group.
type Volume struct {
	ID        ident.Volume `json:"id"`
	Name      string       `json:"name"`
	SizeBytes int64        `json:"size_bytes"`
}

// Group is the unit of authority.
type Group struct {
	ID         ident.Group `json:"id"`
	Name       string      `json:"name"`
	Preferred  ident.Node  `json:"preferred"`
	Durability Durability  `json:"durability"`
	Config     Config      `json:"config"`
	Volumes    []Volume    `json:"volumes"`
}

// VM is a virtual machine. Generation grows with each placement: a node may run
// it only under the generation that placed it there.
type VM struct {
	ID         ident.VM    `json:"id"`
	Name       string      `json:"name"`
	Group      ident.Group `json:"group"`
	CPUs       int         `json:"cpus"`
	MemoryMB   int         `json:"memory_mb"`
	Firmware   string      `json:"firmware"` // bios or uefi
	Cards      []Card      `json:"cards"`    // network cards
	Run        bool        `json:"run"`      // what the operator wants
	Node       ident.Node  `json:"node"`     // where it may run; zero: nowhere
	Generation uint64      `json:"generation"`
}

// Role is what a user may do.
type Role string

// The roles.
const (
	RoleAdmin    Role = "admin"
	RoleOperator Role = "operator"
	RoleViewer   Role = "viewer"
)

// User is an account of the console. The secrets are stored as given: the
// caller hashes the password and seals the TOTP secret.
type User struct {
	Role Role   `json:"role"`
	Hash string `json:"hash"` // argon2id, in its usual text form
	TOTP string `json:"totp,omitempty"`
}

// Service is the citizen service.
type Service struct {
	Group ident.Group `json:"group"` // zero: not set up
}

// Event is one line of the cluster's history.
type Event struct {
	No     uint64      `json:"no"`
	WallMS int64       `json:"wall_ms"` // of the proposer, a label for people
	Kind   string      `json:"kind"`
	Node   ident.Node  `json:"node,omitempty"`
	Group  ident.Group `json:"group,omitempty"`
	VM     ident.VM    `json:"vm,omitempty"`
	Old    string      `json:"old,omitempty"`
	New    string      `json:"new,omitempty"`
	Cause  string      `json:"cause,omitempty"`
}

// Counters hold the next identity of each kind; identities are never reused.
type Counters struct {
	Group  ident.Group  `json:"group"`
	Volume ident.Volume `json:"volume"`
	VM     ident.VM     `json:"vm"`
	Event  uint64       `json:"event"`
}

// Recent remembers what became of a proposal, so that it is applied once.
type Recent struct {
	ID     ProposalID `json:"id"`
	Result Result     `json:"result"`
}

// State is what the voters agree on.
type State struct {
	Version int                   `json:"version"`
	Index   uint64                `json:"index"` // of the last log entry applied
	Pair    ident.UUID            `json:"pair"`
	Nodes   map[ident.Node]Node   `json:"nodes"`
	Groups  map[ident.Group]Group `json:"groups"`
	VMs     map[ident.VM]VM       `json:"vms"`
	Users   map[string]User       `json:"users"`
	Service Service               `json:"service"`
	Next    Counters              `json:"next"`
	Events  []Event               `json:"events"` // oldest first
	Recent  []Recent              `json:"recent"` // oldest first
}

// New makes the state of a pair without groups: the genesis that all voters
// start from.
func New(pair ident.UUID, nodes map[ident.Node]Node) *State {
	return &State{
		Version: Version, Pair: pair, Nodes: maps.Clone(nodes),
		Groups: map[ident.Group]Group{}, VMs: map[ident.VM]VM{}, Users: map[string]User{},
		Next: Counters{Group: 1, Volume: 1, VM: 1, Event: 1}, Events: []Event{}, Recent: []Recent{},
	}
}

// Encode writes the state; equal states give equal bytes.
func (s *State) Encode() ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode cluster state: %w", err)
	}
	return b, nil
}

// Decode reads what Encode wrote, in this or an earlier version.
func Decode(b []byte) (*State, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("decode cluster state: %w", err)
	}
	if head.Version > Version {
		return nil, fmt.Errorf("%w: %d, this one reads up to %d", ErrVersion, head.Version, Version)
	}
	s := New(ident.UUID{}, map[ident.Node]Node{})
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("decode cluster state: %w", err)
	}
	if s.Version == 1 {
		s.upgrade()
	}
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("decode cluster state: %w", err)
	}
	return s, nil
}

// upgrade makes a state of version 1 what the same commands make now: so a voter that
// reads its snapshot and one that applies its log agree.
func (s *State) upgrade() {
	for id, v := range s.VMs {
		v.Cards, _ = s.cards(VM{ID: id}, DefaultCards) // within the bounds
		s.VMs[id] = v
	}
	s.Version = Version
}

// Clone returns a copy that shares nothing that either may change.
func (s *State) Clone() *State {
	c := *s
	c.Nodes, c.VMs, c.Users = maps.Clone(s.Nodes), maps.Clone(s.VMs), maps.Clone(s.Users)
	c.Groups = maps.Clone(s.Groups) // configurations and volume lists are replaced, never changed, and so are cards
	c.Events, c.Recent = slices.Clone(s.Events), slices.Clone(s.Recent)
	return &c
}

// DataNodes lists the nodes that hold data, in order.
func (s *State) DataNodes() []ident.Node {
	var ids []ident.Node
	for id, n := range s.Nodes {
		if n.Kind == KindNode {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Voters lists all nodes, in order.
func (s *State) Voters() []ident.Node { return slices.Sorted(maps.Keys(s.Nodes)) }
