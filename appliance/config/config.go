// Package config is the one configuration file of a node, config.json in its
// state folder: typed, versioned, validated, written whole and atomically.
//
// It says who the node is, whom it trusts, where it listens and what it runs.
// Everything that the pair decides together (groups, VMs, users) is not here but
// in the voted state. The lab, and later pairing and the seed, write it; every
// service of the node reads it at its start and turns it into the Config of each
// package.
package config

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/transport"
)

// Version of the file. History: 1 first.
const Version = 1

// Node is the configuration of one node or of the witness.
type Node struct {
	Version int        `json:"version"`
	Pair    ident.UUID `json:"pair"`
	Self    ident.Node `json:"self"`
	Profile string     `json:"profile"` // of lease.Timing
	Members []Member   `json:"members"` // all three, this one included
	// VoteListen and DataListen are where this node listens, by path.
	VoteListen []transport.Path `json:"vote_listen"`
	DataListen []transport.Path `json:"data_listen,omitempty"`
	// Joins says that this node took a lost one's place: its votes begin with what the
	// others hand it, and not with a genesis.
	Joins bool `json:"joins,omitempty"`

	Store   Store   `json:"store,omitzero"`
	Citizen Citizen `json:"citizen,omitzero"`
	Console Console `json:"console,omitzero"`
	Guests  Guests  `json:"guests,omitzero"`
}

// Member is one of the three voters, as this node reaches it.
type Member struct {
	ID        ident.Node       `json:"id"`
	Name      string           `json:"name"` // a, b, witness, or what the town calls them
	Kind      cluster.Kind     `json:"kind"`
	Site      string           `json:"site"`
	PublicKey []byte           `json:"public_key"` // Ed25519
	Replica   ident.UUID       `json:"replica"`    // of its store; zero for the witness
	VotePaths []transport.Path `json:"vote_paths,omitempty"`
	DataPaths []transport.Path `json:"data_paths,omitempty"`
	Citizen   string           `json:"citizen,omitempty"` // its own citizen address, host:port, to which this node hands citizens on
}

// Store is where the node's blocks lie.
type Store struct {
	Path    string `json:"path"`
	LabDisk bool   `json:"lab_disk,omitempty"` // forget unflushed writes when killed (lab only)
	LabSeed uint64 `json:"lab_seed,omitempty"`
}

// Citizen is where the citizen service listens.
type Citizen struct {
	Listen  string `json:"listen"`  // this node's own address
	Service string `json:"service"` // the service address, held by one node at a time
	Town    string `json:"town"`    // name shown to citizens
	// FilingEveryMS is how often one address may file when it has filed much
	// already, milliseconds; 0 takes the service's own rule. A lab files from one
	// address.
	FilingEveryMS int `json:"filing_every_ms,omitempty"`
}

// Console is where the web console and the operator's API listen (HTTPS).
type Console struct {
	Listen string `json:"listen"`
}

// Guests says how VMs are run.
type Guests struct {
	QEMU     string `json:"qemu"` // the binary; empty: qemu-system-x86_64 of the PATH
	QemuImg  string `json:"qemu_img"`
	UEFICode string `json:"uefi_code"`
	UEFIVars string `json:"uefi_vars"`
}

// Dir is a node's state folder and the places in it.
type Dir string

// Places in a state folder.
func (d Dir) Config() string            { return filepath.Join(string(d), "config.json") }
func (d Dir) Key() string               { return filepath.Join(string(d), "key") }   // Ed25519 seed, 32 bytes, mode 0600
func (d Dir) Token() string             { return filepath.Join(string(d), "token") } // of the administrator, for the API
func (d Dir) Vote() string              { return filepath.Join(string(d), "vote") }
func (d Dir) Guests() string            { return filepath.Join(string(d), "vm") }
func (d Dir) Uploads() string           { return filepath.Join(string(d), "uploads") }
func (d Dir) Logs() string              { return filepath.Join(string(d), "logs") }
func (d Dir) Cables() string            { return filepath.Join(d.Run(), "cables.json") }   // what init sees of them; status.LoadCables
func (d Dir) Clock() string             { return filepath.Join(d.Run(), "clock.json") }    // what init did to it; status.LoadClock
func (d Dir) Services() string          { return filepath.Join(d.Run(), "services.json") } // what init says of them; status.LoadServices
func (d Dir) Own(service string) string { return filepath.Join(string(d), service) }       // what nobody else touches
func (d Dir) Run() string               { return filepath.Join(string(d), "run") }
func (d Dir) Socket(name string) string { return filepath.Join(d.Run(), name+".sock") } // init, node, block, nbd, vm, citizen, console

// Load reads and checks the configuration of a state folder.
func Load(d Dir) (*Node, error) {
	b, err := os.ReadFile(d.Config())
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var n Node
	if err := dec.Decode(&n); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", d.Config(), err)
	}
	if err := n.Validate(); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", d.Config(), err)
	}
	return &n, nil
}

// Save writes the configuration atomically.
func Save(d Dir, n *Node) error {
	if err := n.Validate(); err != nil {
		return fmt.Errorf("save configuration: %w", err)
	}
	b, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return fmt.Errorf("save configuration: %w", err)
	}
	tmp := d.Config() + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("save configuration: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("save configuration: %w", err)
	}
	if err := os.Rename(tmp, d.Config()); err != nil {
		return fmt.Errorf("save configuration: %w", err)
	}
	dir, err := os.Open(string(d))
	if err != nil {
		return fmt.Errorf("save configuration: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("save configuration: %w", err)
	}
	return nil
}

// LoadKey reads the node's private key.
func LoadKey(d Dir) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(d.Key())
	if err != nil {
		return nil, fmt.Errorf("read the node's key: %w", err)
	}
	if len(b) != ed25519.SeedSize {
		return nil, fmt.Errorf("key %s has %d bytes, want %d", d.Key(), len(b), ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(b), nil
}

// Validate reports every fault at once.
func (n *Node) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if n.Version != Version {
		bad("version %d, this release reads %d", n.Version, Version)
	}
	if n.Pair.IsZero() {
		bad("pair identity is missing")
	}
	if _, err := lease.Profile(n.Profile); err != nil {
		errs = append(errs, err)
	}
	kinds := map[cluster.Kind]int{}
	for _, m := range n.Members {
		kinds[m.Kind]++
		if len(m.PublicKey) != ed25519.PublicKeySize {
			bad("member %s: public key of %d bytes, want %d", m.Name, len(m.PublicKey), ed25519.PublicKeySize)
		}
		if err := ident.CheckName(m.Name); err != nil {
			bad("member: %w", err)
		}
	}
	if kinds[cluster.KindNode] != 2 || kinds[cluster.KindWitness] != 1 {
		bad("members: %d nodes and %d witnesses, want 2 and 1", kinds[cluster.KindNode], kinds[cluster.KindWitness])
	}
	if _, ok := n.member(n.Self); !ok {
		bad("this node, %v, is not among the members", n.Self)
	}
	if len(n.VoteListen) == 0 {
		bad("no path to listen on")
	}
	return errors.Join(errs...)
}

func (n *Node) member(id ident.Node) (Member, bool) {
	i := slices.IndexFunc(n.Members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return n.Members[i], true
}

// Me is this node's own entry.
func (n *Node) Me() Member {
	m, _ := n.member(n.Self)
	return m
}

// Twin is the other data node; ok is false on the witness.
func (n *Node) Twin() (Member, bool) {
	if n.Me().Kind != cluster.KindNode {
		return Member{}, false
	}
	for _, m := range n.Members {
		if m.Kind == cluster.KindNode && m.ID != n.Self {
			return m, true
		}
	}
	return Member{}, false
}

// Genesis is the voted state that a new pair begins with, the same on all three.
func (n *Node) Genesis() *cluster.State {
	nodes := map[ident.Node]cluster.Node{}
	for _, m := range n.Members {
		nodes[m.ID] = cluster.Node{Name: m.Name, Kind: m.Kind, Site: m.Site, PublicKey: m.PublicKey, Replica: m.Replica}
	}
	return cluster.New(n.Pair, nodes)
}

// VoteTransport is the transport of the vote.
func (n *Node) VoteTransport(key ed25519.PrivateKey) transport.Config {
	return n.transport(key, n.VoteListen, func(m Member) []transport.Path { return m.VotePaths })
}

// DataTransport is the transport of the mirror.
func (n *Node) DataTransport(key ed25519.PrivateKey) transport.Config {
	c := n.transport(key, n.DataListen, func(m Member) []transport.Path { return m.DataPaths })
	c.Data = true
	for _, p := range n.DataListen {
		c.DataPaths = append(c.DataPaths, p.Name)
	}
	return c
}

func (n *Node) transport(key ed25519.PrivateKey, listen []transport.Path, paths func(Member) []transport.Path) transport.Config {
	t, _ := lease.Profile(n.Profile) // Validate has checked it
	c := transport.Config{Self: n.Self, Pair: n.Pair, Key: key, Listen: listen, Timing: transport.DefaultTiming()}
	c.Timing.Ping, c.Timing.Dead = t.PathPing, t.PathDead
	for _, m := range n.Members {
		if p := paths(m); m.ID != n.Self && len(p) > 0 {
			c.Peers = append(c.Peers, transport.Peer{ID: m.ID, PublicKey: m.PublicKey, Paths: p})
		}
	}
	return c
}
