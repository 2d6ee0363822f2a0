package transport

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"beffroi.dev/pkg/clock"
)

// linkQueue bounds what waits on a control connection, in bytes. Control
// messages are best effort; a link that is this far behind is nearly dead.
const linkQueue = 8 << 20

var (
	errNoPong = errors.New("no answer to pings")
	errLinkUp = errors.New("link still up")
)

// link is one authenticated control connection of a path.
type link struct {
	path     *path
	conn     *tls.Conn
	wire     *wire
	peerData bool // the peer keeps data sessions

	lastPong  atomic.Int64 // instant; zero before the first
	roundTrip atomic.Int64
	everLive  atomic.Bool
	born      clock.Instant

	wake chan struct{}
	done chan struct{}

	mu     sync.Mutex // guards queue and reason
	queue  []byte     // whole frames
	reason error      // set once, when closed
}

func newLink(p *path, conn *tls.Conn, w *wire, peerData bool) *link {
	return &link{
		path: p, conn: conn, wire: w, peerData: peerData, born: p.peer.mesh.clock.Now(),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

func (l *link) isLive() bool {
	last := clock.Instant(l.lastPong.Load())
	return last != 0 && l.path.peer.mesh.clock.Now().Sub(last) <= l.path.peer.mesh.cfg.Timing.Dead
}

func (l *link) close(err error) {
	l.mu.Lock()
	first := l.reason == nil
	if first {
		l.reason = err
		close(l.done)
	}
	l.mu.Unlock()
	if first {
		_ = l.wire.Conn.Close()
	}
}

func (l *link) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason == nil {
		return errLinkUp
	}
	return l.reason
}

// send queues one frame; it is dropped when the queue is full.
func (l *link) send(k kind, payload []byte) {
	l.mu.Lock()
	if len(l.queue)+headerSize+len(payload) <= linkQueue {
		l.queue = appendFrame(l.queue, k, payload)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// write is the writer goroutine. It also pings, and gives the link up when the
// pongs stay away.
func (l *link) write(ctx context.Context) {
	t := l.path.peer.mesh.cfg.Timing
	tick := time.NewTicker(t.Ping)
	defer tick.Stop()
	var out []byte
	l.ping()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.done:
			return
		case <-tick.C:
			if l.expired(t.Dead) {
				// The session of this path must end now, not when the reader,
				// which may sit in a handler, comes round.
				l.close(errNoPong)
				l.path.drop(l, errNoPong)
				return
			}
			l.ping()
		case <-l.wake:
		}
		l.mu.Lock()
		out, l.queue = l.queue, out[:0]
		l.mu.Unlock()
		if err := l.flush(out, t.Dead); err != nil {
			l.close(err)
			l.path.drop(l, err)
			return
		}
		if cap(out) > MaxControl { // a burst must not pin its memory for ever
			out = nil
		}
	}
}

func (l *link) flush(out []byte, bound time.Duration) error {
	if len(out) == 0 {
		return nil
	}
	if err := l.wire.SetWriteDeadline(time.Now().Add(bound)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if _, err := l.conn.Write(out); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := l.wire.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func (l *link) ping() {
	var b [pingSize]byte
	binary.BigEndian.PutUint64(b[:], uint64(l.path.peer.mesh.clock.Now()))
	l.send(kindPing, b[:])
}

func (l *link) expired(dead time.Duration) bool {
	last := clock.Instant(l.lastPong.Load())
	if last == 0 {
		last = l.born
	}
	return l.path.peer.mesh.clock.Now().Sub(last) > dead
}

// pong takes back one of our pings. A sum that lies in the future or before the
// link was born is not one of them.
func (l *link) pong(b []byte) {
	now := l.path.peer.mesh.clock.Now()
	sent := clock.Instant(binary.BigEndian.Uint64(b))
	if sent > now || sent < l.born {
		return
	}
	if now.Sub(sent) > l.path.peer.mesh.cfg.Timing.Dead {
		return // older than what counts as recent
	}
	l.roundTrip.Store(int64(now.Sub(sent)))
	was := l.isLive()
	l.lastPong.Store(int64(now))
	if !was {
		l.everLive.Store(true)
		l.path.peer.mesh.log.Info("path up", "peer", l.path.peer.id, "path", l.path.name, "round_trip", now.Sub(sent))
		l.path.peer.poke()
	}
}

// read is the reader; it returns why the link ended.
func (l *link) read() error {
	var h [headerSize]byte
	for {
		if _, err := io.ReadFull(l.conn, h[:]); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		k, size, err := parseHeader(h[:], roleControl)
		if err != nil {
			l.path.peer.mesh.refused.add(RefusedFrame, l.wire.RemoteAddr().String(), err)
			return err
		}
		msg := make([]byte, size)
		if _, err := io.ReadFull(l.conn, msg); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		switch k {
		case kindPing:
			l.send(kindPong, msg)
		case kindPong:
			l.pong(msg)
		case kindControl:
			l.path.peer.control(msg)
		}
	}
}

// jitter draws from [0, d]. It spreads retries and decides nothing else.
func jitter(d time.Duration) time.Duration { return rand.N(d + 1) }
