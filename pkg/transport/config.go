package transport

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"beffroi.dev/pkg/ident"
)

// Path is a named way to a peer, or a named address to listen on. Both ends use
// the same name for the same path.
type Path struct {
	Name string
	Addr string // host:port
}

// Peer is one other voter. The end with the lower identity dials, so only it
// needs the addresses; both name all paths, the best one first.
type Peer struct {
	ID        ident.Node
	PublicKey ed25519.PublicKey
	Paths     []Path
}

// Timing bounds what a Mesh waits for.
type Timing struct {
	Ping      time.Duration // between two pings of a path
	Dead      time.Duration // without a pong for this long, a path is dead
	Handshake time.Duration // from a connection's first packet to its accepted hello
	RetryMin  time.Duration // first pause before dialling again
	RetryMax  time.Duration // longest pause before dialling again
}

// DefaultTiming suits the production profile: a path is given up in time for
// the vote to be over 0.9 s after a power cut.
func DefaultTiming() Timing {
	return Timing{
		Ping:      100 * time.Millisecond,
		Dead:      400 * time.Millisecond,
		Handshake: 2 * time.Second,
		RetryMin:  50 * time.Millisecond,
		RetryMax:  time.Second,
	}
}

// DefaultQueueBytes bounds what waits to be written to a slow peer.
const DefaultQueueBytes = 64 << 20

// Config says who we are, where we listen and whom we trust.
type Config struct {
	Self       ident.Node
	Pair       ident.UUID
	Key        ed25519.PrivateKey
	Listen     []Path
	Peers      []Peer
	Data       bool     // keep data sessions with the peers that keep them too
	DataPaths  []string // the paths that may carry data, the best one first
	Timing     Timing
	QueueBytes int // bound of a session's queue; 0 means DefaultQueueBytes
}

// Validate reports everything that is wrong with the configuration.
func (c *Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Self == 0 {
		fault("self: no node identity")
	}
	if c.Pair.IsZero() {
		fault("pair: no identity")
	}
	if len(c.Key) != ed25519.PrivateKeySize {
		fault("key: %d bytes, want an Ed25519 private key of %d", len(c.Key), ed25519.PrivateKeySize)
	}
	if c.QueueBytes != 0 && c.QueueBytes < MaxData {
		fault("queue: %d bytes, want at least %d, one message", c.QueueBytes, MaxData)
	}
	checkPaths(c.Listen, "listen", true, fault)
	seen := map[ident.Node]bool{c.Self: true}
	keys := map[string]bool{}
	for _, p := range c.Peers {
		if p.ID == 0 || seen[p.ID] {
			fault("peer %v: identity missing or used twice", p.ID)
		}
		seen[p.ID] = true
		if len(p.PublicKey) != ed25519.PublicKeySize || keys[string(p.PublicKey)] {
			fault("peer %v: want an Ed25519 public key of its own", p.ID)
		}
		keys[string(p.PublicKey)] = true
		checkPaths(p.Paths, fmt.Sprintf("peer %v", p.ID), c.Self < p.ID, fault)
	}
	for i, name := range c.DataPaths {
		if ident.CheckName(name) != nil || slices.Contains(c.DataPaths[:i], name) {
			fault("data path %q: not a path name, or named twice", name)
		}
	}
	if c.Data && len(c.DataPaths) == 0 {
		fault("data: sessions are wanted but no path may carry them")
	}
	c.Timing.check(fault)
	return errors.Join(faults...)
}

func checkPaths(paths []Path, what string, addr bool, fault func(string, ...any)) {
	for i, p := range paths {
		if err := ident.CheckName(p.Name); err != nil {
			fault("%s: path: %w", what, err)
		}
		if slices.ContainsFunc(paths[:i], func(q Path) bool { return q.Name == p.Name }) {
			fault("%s: path %s named twice", what, p.Name)
		}
		if addr && p.Addr == "" {
			fault("%s: path %s has no address", what, p.Name)
		}
	}
}

func (t *Timing) check(fault func(string, ...any)) {
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"ping", t.Ping}, {"dead", t.Dead}, {"handshake", t.Handshake}, {"shortest retry", t.RetryMin}, {"longest retry", t.RetryMax}} {
		if f.d <= 0 {
			fault("timing: %s is %v, want more than zero", f.name, f.d)
		}
	}
	if t.Dead < 2*t.Ping {
		fault("timing: dead after %v, want at least two pings of %v", t.Dead, t.Ping)
	}
	if t.RetryMax < t.RetryMin {
		fault("timing: longest retry %v below the shortest, %v", t.RetryMax, t.RetryMin)
	}
}
