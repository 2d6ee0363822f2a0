package transport

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// listener accepts the connections of one path.
type listener struct {
	mesh *Mesh
	path string
	addr string

	mu sync.Mutex // guards l
	l  net.Listener
}

func (l *listener) bind() error {
	n, err := net.Listen("tcp", l.addr)
	if err != nil {
		return fmt.Errorf("listen on path %s: %w", l.path, err)
	}
	l.mu.Lock()
	l.l = n
	l.mu.Unlock()
	return nil
}

func (l *listener) socket() net.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.l
}

func (l *listener) bound() net.Addr {
	if s := l.socket(); s != nil {
		return s.Addr()
	}
	return nil
}

// serve binds, if that is still to do, and accepts until ctx ends.
func (l *listener) serve(ctx context.Context) error {
	pause := newBackoff(l.mesh.cfg.Timing)
	for l.socket() == nil {
		if !pause.wait(ctx) {
			return nil
		}
		if l.bind() == nil {
			l.mesh.log.Info("listening", "path", l.path, "addr", l.addr)
		}
	}
	s := l.socket()
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	for {
		raw, err := s.Accept()
		if ctx.Err() != nil {
			if raw != nil {
				_ = raw.Close()
			}
			return nil
		}
		if err != nil { // out of descriptors, or a connection that died in the queue
			if !pause.wait(ctx) {
				return nil
			}
			continue
		}
		select {
		case l.mesh.slots <- struct{}{}:
			l.mesh.tasks.Go("accept "+l.path, func(ctx context.Context) error { l.accept(ctx, raw); return nil })
		default:
			l.mesh.refused.add(RefusedBusy, raw.RemoteAddr().String(), nil)
			_ = raw.Close()
		}
	}
}

// accept authenticates one connection and serves it until it ends.
func (l *listener) accept(ctx context.Context, raw net.Conn) {
	m := l.mesh
	release := sync.OnceFunc(func() { <-m.slots })
	defer release()
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	if err := raw.SetDeadline(time.Now().Add(m.cfg.Timing.Handshake)); err != nil {
		return
	}
	w := newWire(raw)
	conn := tls.Server(w, tlsConfig(m.cert, func(k ed25519.PublicKey) bool { return m.peerOf(k) != nil }))
	on, h, err := l.welcome(conn, w)
	if err != nil {
		if ctx.Err() == nil {
			m.refused.add(reasonOf(err), raw.RemoteAddr().String(), err)
		}
		return
	}
	if raw.SetDeadline(time.Time{}) != nil {
		return
	}
	release()
	w.hold()
	if h.role == roleControl {
		on.run(ctx, conn, w, h.flags&flagData != 0)
		return
	}
	s := on.peer.up(on, conn, w)
	if on.linked() == nil { // it died between the reply and now, and nobody told us
		on.peer.lost(on, errNoPong)
	}
	<-s.done // the deferred close is for this connection's end
}

// welcome reads and answers the hello.
func (l *listener) welcome(conn *tls.Conn, w *wire) (*path, hello, error) {
	if err := conn.Handshake(); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, hello{}, errNoHello
		}
		return nil, hello{}, &RefusedError{Reason: RefusedKey, By: "us"}
	}
	key, _ := peerKey(conn.ConnectionState())
	from := l.mesh.peerOf(key)
	h, err := readHello(conn)
	if err != nil {
		return nil, hello{}, err
	}
	on, code := l.mesh.judge(h, from, l.path)
	rep := reply{version: Version, code: code, flags: l.mesh.flags(), from: l.mesh.cfg.Self}
	if on != nil {
		w.count(&on.in, &on.out)
	}
	if _, err := conn.Write(rep.encode()); err != nil {
		return nil, hello{}, fmt.Errorf("answer hello: %w", err)
	}
	if code != 0 {
		return nil, hello{}, &RefusedError{Reason: code, By: "us", Version: h.version}
	}
	return on, h, nil
}

func reasonOf(err error) Refusal {
	var r *RefusedError
	switch {
	case errors.As(err, &r):
		return r.Reason
	case errors.Is(err, errNoHello), errors.Is(err, os.ErrDeadlineExceeded):
		return RefusedHandshake
	}
	return RefusedGarbage
}
