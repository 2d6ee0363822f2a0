package transport

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// path is one way to one peer, with at most one link.
type path struct {
	peer *peer
	name string
	addr string
	in   atomic.Uint64
	out  atomic.Uint64

	mu     sync.Mutex // guards all below
	link   *link
	reason string         // why there is no link
	heard  map[role]hello // the newest accepted
}

// newest reports whether a hello is newer than all accepted before it for the
// same role, and remembers it. After a path was silent, an attempt that its
// dialler gave up long ago may arrive behind the one that replaced it, and must
// not replace that.
func (p *path) newest(h hello) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, ok := p.heard[h.role]; ok && last.life == h.life && h.attempt <= last.attempt {
		return false
	}
	if p.heard == nil {
		p.heard = map[role]hello{}
	}
	p.heard[h.role] = h
	return true
}

func (p *path) linked() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link
}

// live returns the link if it had a recent round trip.
func (p *path) live() *link {
	if l := p.linked(); l != nil && l.isLive() {
		return l
	}
	return nil
}

func (p *path) status() PathStatus {
	p.mu.Lock()
	l, reason := p.link, p.reason
	p.mu.Unlock()
	st := PathStatus{Peer: p.peer.id, Path: p.name, BytesIn: p.in.Load(), BytesOut: p.out.Load(), Reason: reason}
	if s := p.peer.current.Load(); s != nil && s.path == p {
		st.Session = true
	}
	if l == nil {
		return st
	}
	st.RoundTrip = time.Duration(l.roundTrip.Load())
	if st.Up = l.isLive(); !st.Up {
		st.Reason = "no round trip yet"
	}
	return st
}

// set makes l the path's link, in place of the one before.
func (p *path) set(l *link) {
	p.mu.Lock()
	old := p.link
	p.link, p.reason = l, ""
	p.mu.Unlock()
	if old != nil {
		old.close(errReplaced)
		p.peer.lost(p, errReplaced)
	}
}

// drop forgets l and ends the session that the path carries.
func (p *path) drop(l *link, err error) {
	p.mu.Lock()
	mine := p.link == l
	if mine {
		p.link, p.reason = nil, err.Error()
	}
	p.mu.Unlock()
	if mine {
		p.peer.mesh.log.Info("path down", "peer", p.peer.id, "path", p.name, "cause", err)
		p.peer.lost(p, err)
	}
}

func (p *path) fail(err error) {
	p.mu.Lock()
	changed := p.link == nil && p.reason != err.Error()
	if p.link == nil {
		p.reason = err.Error()
	}
	p.mu.Unlock()
	if changed {
		p.peer.mesh.log.Info("path not linked", "peer", p.peer.id, "path", p.name, "cause", err)
	}
}

// keep, on the dialling side, dials the path again whenever its link is gone.
func (p *path) keep(ctx context.Context) error {
	pause := newBackoff(p.peer.mesh.cfg.Timing)
	for ctx.Err() == nil {
		conn, w, r, err := p.connect(ctx, roleControl)
		if err != nil {
			p.fail(err)
		} else if p.run(ctx, conn, w, r.flags&flagData != 0) {
			pause.reset()
		}
		if !pause.wait(ctx) {
			return nil
		}
	}
	return nil
}

// run serves a link until it ends; it reports whether it was ever live.
func (p *path) run(ctx context.Context, conn *tls.Conn, w *wire, peerData bool) bool {
	l := newLink(p, conn, w, peerData)
	stop := context.AfterFunc(ctx, func() { l.close(errClosed) })
	defer stop()
	p.set(l)
	p.peer.mesh.tasks.Go("link writer", func(ctx context.Context) error { l.write(ctx); return nil })
	err := l.read()
	l.close(err)
	p.drop(l, l.cause())
	return l.everLive.Load()
}

// connect dials, authenticates and says hello.
func (p *path) connect(ctx context.Context, r role) (*tls.Conn, *wire, reply, error) {
	m := p.peer.mesh
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timing.Handshake)
	defer cancel()
	attempt := m.dialled.Add(1)
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return nil, nil, reply{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	w := newWire(raw)
	w.count(&p.in, &p.out)
	key := m.keys[p.peer.id]
	conn := tls.Client(w, tlsConfig(m.cert, func(k ed25519.PublicKey) bool { return key.Equal(k) }))
	rep, err := p.greet(conn, r, attempt)
	if !stop() { // the deadline closed it meanwhile
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		_ = raw.Close()
		return nil, nil, reply{}, err
	}
	w.hold()
	return conn, w, rep, nil
}

func (p *path) greet(conn *tls.Conn, r role, attempt uint32) (reply, error) {
	m := p.peer.mesh
	h := hello{version: Version, role: r, flags: m.flags(), pair: m.cfg.Pair, from: m.cfg.Self, to: p.peer.id, path: p.name, life: m.life, attempt: attempt}
	if _, err := conn.Write(h.encode()); err != nil { // does the handshake
		return reply{}, fmt.Errorf("authenticate: %w", err)
	}
	rep, err := readReply(conn)
	switch {
	case err != nil:
		return reply{}, err
	case rep.code != 0:
		return reply{}, &RefusedError{Reason: rep.code, By: "peer", Version: rep.version}
	case rep.version != Version:
		return reply{}, &RefusedError{Reason: RefusedVersion, By: "us", Version: rep.version}
	case rep.from != p.peer.id:
		return reply{}, &RefusedError{Reason: RefusedNode, By: "us"}
	}
	return rep, nil
}
