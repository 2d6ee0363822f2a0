package transport

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"beffroi.dev/pkg/ident"
)

// peer is one other voter: its paths and at most one session.
type peer struct {
	mesh     *Mesh
	id       ident.Node
	dial     bool    // we have the lower identity
	paths    []*path // in configured order
	carriers []*path // those that may carry data, in order
	wake     chan struct{}

	current atomic.Pointer[session] // changed only under deliver

	deliver sync.Mutex // makes calls to the handler one at a time; guards number
	number  uint64
}

// poke asks the session keeper to look again.
func (p *peer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *peer) control(msg []byte) {
	p.deliver.Lock()
	defer p.deliver.Unlock()
	p.mesh.handler.Control(p.id, msg)
}

// data delivers one message; it reports false when the session is over.
func (p *peer) data(s *session, msg []byte) bool {
	p.deliver.Lock()
	defer p.deliver.Unlock()
	if p.current.Load() != s {
		return false
	}
	p.mesh.handler.Data(p.id, s.number, msg)
	return true
}

// up makes a connection the current session, in place of the one before.
func (p *peer) up(on *path, conn *tls.Conn, w *wire) *session {
	p.deliver.Lock()
	defer p.deliver.Unlock()
	if old := p.current.Load(); old != nil {
		p.close(old, errReplaced)
	}
	p.number++
	s := newSession(p, on, p.number, conn, w, p.mesh.cfg.QueueBytes)
	p.current.Store(s)
	p.mesh.log.Info("session up", "peer", p.id, "session", s.number, "path", on.name)
	p.mesh.handler.SessionUp(p.id, s.number, on.name)
	p.mesh.tasks.Go("data reader", func(context.Context) error { s.read(); return nil })
	p.mesh.tasks.Go("data writer", func(context.Context) error { s.write(); return nil })
	s.unhook = context.AfterFunc(p.mesh.tasks.Context(), func() { p.down(s, errClosed) })
	return s
}

// down ends s, if it is still the current session.
func (p *peer) down(s *session, err error) {
	s.end()
	p.deliver.Lock()
	if p.current.Load() == s {
		p.close(s, err)
	}
	p.deliver.Unlock()
	p.poke()
}

// close is called with deliver held.
func (p *peer) close(s *session, err error) {
	p.current.Store(nil)
	s.end()
	s.unhook()
	p.mesh.log.Info("session down", "peer", p.id, "session", s.number, "path", s.path.name, "cause", err)
	p.mesh.handler.SessionDown(p.id, s.number, err)
}

// lost is told that a path died.
func (p *peer) lost(on *path, err error) {
	if s := p.current.Load(); s != nil && s.path == on {
		p.down(s, err)
	}
	p.poke()
}

// sendControl uses the first live path, or all linked ones when none is live.
func (p *peer) sendControl(msg []byte) {
	for _, on := range p.paths {
		if l := on.live(); l != nil {
			l.send(kindControl, msg)
			return
		}
	}
	for _, on := range p.paths {
		if l := on.linked(); l != nil {
			l.send(kindControl, msg)
		}
	}
}

// keepSession, on the dialling side, sees to it that there is a session while a
// data path is live. Pauses grow while attempts fail.
func (p *peer) keepSession(ctx context.Context) error {
	pause := newBackoff(p.mesh.cfg.Timing)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		for ctx.Err() == nil && p.current.Load() == nil {
			tried, ok := p.openSession(ctx)
			if ok {
				pause.reset()
				break
			}
			if !tried { // no path is live: the next one that is will wake us
				break
			}
			if !pause.wait(ctx) {
				return nil
			}
		}
	}
}

// openSession tries the live data paths in order.
func (p *peer) openSession(ctx context.Context) (tried, ok bool) {
	for _, on := range p.carriers {
		l := on.live()
		if l == nil || !l.peerData {
			continue
		}
		tried = true
		conn, w, _, err := on.connect(ctx, roleData)
		if err != nil {
			p.mesh.log.Debug("session not opened", "peer", p.id, "path", on.name, "cause", err)
			continue
		}
		p.up(on, conn, w)
		if on.live() == nil { // it died between the hello and now, and nobody told us
			p.lost(on, errNoPong)
		}
		return true, true
	}
	return tried, false
}

// backoff is a growing pause with jitter, so that two ends or many retries
// never fall into step.
type backoff struct {
	t    Timing
	next time.Duration
}

func newBackoff(t Timing) *backoff { return &backoff{t: t, next: t.RetryMin} }

func (b *backoff) reset() { b.next = b.t.RetryMin }

// wait pauses for half to all of the next pause; it reports false if ctx ended.
func (b *backoff) wait(ctx context.Context) bool {
	d := b.next/2 + jitter(b.next/2)
	b.next = min(2*b.next, b.t.RetryMax)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
