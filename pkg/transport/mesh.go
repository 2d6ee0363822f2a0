package transport

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/task"
)

// maxHandshakes bounds the connections that have not said an acceptable hello:
// anyone on the network can open those.
const maxHandshakes = 64

// stopBound is how long Close waits for the goroutines: a handler may be busy.
const stopBound = 5 * time.Second

// Mesh is the real Endpoint. New validates, Start listens and dials, Close ends
// all sessions (the handler is told) and waits.
type Mesh struct {
	cfg     Config
	log     *slog.Logger
	clock   clock.Clock
	cert    tls.Certificate
	keys    map[ident.Node]ed25519.PublicKey
	peers   map[ident.Node]*peer
	order   []*peer
	refused *refusals
	slots   chan struct{} // one for each handshake in progress
	listen  []*listener
	life    uint32
	dialled atomic.Uint32 // attempts so far

	handler Handler
	tasks   *task.Group
}

// New makes an endpoint that does nothing yet.
func New(cfg Config, clk clock.Clock, log *slog.Logger) (*Mesh, error) {
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = DefaultQueueBytes
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("transport configuration: %w", err)
	}
	cert, err := selfSigned(cfg.Key)
	if err != nil {
		return nil, err
	}
	log = log.With("room", "transport")
	m := &Mesh{
		cfg: cfg, log: log, clock: clk, cert: cert, refused: newRefusals(log, clk),
		keys: map[ident.Node]ed25519.PublicKey{}, peers: map[ident.Node]*peer{}, slots: make(chan struct{}, maxHandshakes),
		life: rand.Uint32(),
	}
	for _, pc := range cfg.Peers {
		p := &peer{mesh: m, id: pc.ID, dial: cfg.Self < pc.ID, wake: make(chan struct{}, 1)}
		for _, c := range pc.Paths {
			p.paths = append(p.paths, &path{peer: p, name: c.Name, addr: c.Addr, reason: "not linked yet"})
		}
		for _, name := range cfg.DataPaths {
			if i := slices.IndexFunc(p.paths, func(q *path) bool { return q.name == name }); i >= 0 && cfg.Data {
				p.carriers = append(p.carriers, p.paths[i])
			}
		}
		m.keys[p.id], m.peers[p.id] = pc.PublicKey, p
		m.order = append(m.order, p)
	}
	for _, l := range cfg.Listen {
		m.listen = append(m.listen, &listener{mesh: m, path: l.Name, addr: l.Addr})
	}
	return m, nil
}

// Start listens and dials; h is told what arrives, from now until Close returns.
// An address that cannot be bound yet, because its link is down at boot, is
// tried again in the background. An endpoint is started once.
func (m *Mesh) Start(ctx context.Context, h Handler) {
	m.handler = h
	m.tasks = task.New(ctx)
	for _, l := range m.listen {
		if err := l.bind(); err != nil {
			m.log.Warn("cannot listen yet", "path", l.path, "cause", err)
		}
		m.tasks.Go("listen "+l.path, l.serve)
	}
	for _, p := range m.order {
		if !p.dial {
			continue
		}
		for _, on := range p.paths {
			if on.addr != "" {
				m.tasks.Go("dial "+on.name, on.keep)
			}
		}
		if len(p.carriers) > 0 {
			m.tasks.Go("session", p.keepSession)
		}
	}
}

// Close ends everything. Handler calls have ended when it returns nil.
func (m *Mesh) Close() error {
	if m.tasks == nil {
		return nil
	}
	if err := m.tasks.Stop(stopBound); err != nil {
		return fmt.Errorf("close transport: %w", err)
	}
	for _, p := range m.order { // those whose AfterFunc has not run yet
		if s := p.current.Load(); s != nil {
			p.down(s, errClosed)
		}
	}
	return nil
}

// SendControl sends over the best live path.
func (m *Mesh) SendControl(to ident.Node, msg []byte) {
	if p := m.peers[to]; p != nil && len(msg) <= MaxControl {
		p.sendControl(msg)
	}
}

// Send queues one message on the data session.
func (m *Mesh) Send(to ident.Node, number uint64, parts ...[]byte) bool {
	p := m.peers[to]
	if p == nil {
		return false
	}
	s := p.current.Load()
	return s != nil && s.number == number && s.enqueue(parts)
}

// Paths describes every path to every peer, in configured order.
func (m *Mesh) Paths() []PathStatus {
	var all []PathStatus
	for _, p := range m.order {
		for _, on := range p.paths {
			all = append(all, on.status())
		}
	}
	return all
}

// Refused counts refused connections by reason, since the start.
func (m *Mesh) Refused() map[Refusal]uint64 { return m.refused.counts() }

// Addr is the address that the named path listens on, nil while it does not.
func (m *Mesh) Addr(path string) net.Addr {
	for _, l := range m.listen {
		if l.path == path {
			return l.bound()
		}
	}
	return nil
}

func (m *Mesh) flags() uint8 {
	if m.cfg.Data {
		return flagData
	}
	return 0
}

// peerOf finds the peer that a public key is pinned to.
func (m *Mesh) peerOf(key ed25519.PublicKey) *peer {
	for _, p := range m.order {
		if m.keys[p.id].Equal(key) {
			return p
		}
	}
	return nil
}

// judge decides about a hello from an authenticated peer; zero means accepted.
func (m *Mesh) judge(h hello, from *peer, arrived string) (*path, Refusal) {
	switch {
	case h.version != Version:
		return nil, RefusedVersion
	case h.pair != m.cfg.Pair:
		return nil, RefusedPair
	case h.from != from.id || h.to != m.cfg.Self || from.dial:
		return nil, RefusedNode
	}
	i := slices.IndexFunc(from.paths, func(p *path) bool { return p.name == h.path })
	if i < 0 || h.path != arrived {
		return nil, RefusedPath
	}
	on := from.paths[i]
	if h.role == roleData && (!slices.Contains(from.carriers, on) || on.linked() == nil) {
		return nil, RefusedSession
	}
	if !on.newest(h) {
		return nil, RefusedStale
	}
	return on, 0
}

var errNoHello = errors.New("no hello before the deadline")
