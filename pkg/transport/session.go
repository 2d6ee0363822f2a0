package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// gather is how much of small parts one TLS write may collect, in bytes: one
// full record.
const gather = 16 << 10

// short is the longest message, in bytes, that its sender writes itself.
const short = 12 << 10

// large is the size in bytes from which a part is handed to TLS as it is,
// instead of being copied next to its neighbours.
const large = 8 << 10

var (
	errReplaced = errors.New("replaced by a new session")
	errClosed   = errors.New("endpoint closed")
)

// session is one data connection. The reader delivers through the peer; the
// writer empties the whole queue before it flushes.
type session struct {
	peer   *peer
	path   *path
	number uint64
	conn   *tls.Conn
	wire   *wire
	bound  int64
	ended  atomic.Bool
	unhook func() bool // stops waiting for the mesh to stop; guarded by peer.deliver

	queued atomic.Int64 // bytes accepted and not yet written
	wake   chan struct{}
	done   chan struct{}
	once   sync.Once

	mu    sync.Mutex // guards parts, msgs, busy
	parts [][]byte
	msgs  []message
	busy  bool   // somebody writes to conn
	stage []byte // of whoever is busy
}

// message is one entry of the queue: its size and its share of the parts.
type message struct {
	size  int
	parts int
}

func newSession(p *peer, on *path, number uint64, conn *tls.Conn, w *wire, bound int) *session {
	return &session{
		peer: p, path: on, number: number, conn: conn, wire: w, bound: int64(bound),
		wake: make(chan struct{}, 1), done: make(chan struct{}), stage: make([]byte, 0, 2*gather),
	}
}

// enqueue reports false when the session has ended or its queue is full.
func (s *session) enqueue(parts [][]byte) bool {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > MaxData || s.ended.Load() || s.queued.Load()+int64(size) > s.bound {
		return false
	}
	s.mu.Lock()
	s.queued.Add(int64(size) + headerSize)
	if size <= short && !s.busy && len(s.msgs) == 0 {
		s.busy = true
		s.mu.Unlock()
		return s.writeNow(parts, size)
	}
	s.parts = append(s.parts, parts...)
	s.msgs = append(s.msgs, message{size: size, parts: len(parts)})
	first := len(s.msgs) == 1 && !s.busy
	s.mu.Unlock()
	if first {
		s.nudge()
	}
	return true
}

func (s *session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// writeNow writes one short message on the caller's goroutine: nobody else
// writes and nothing waits, so the socket has room for it, and waking the writer
// would cost more than writing.
func (s *session) writeNow(parts [][]byte, size int) bool {
	if err := s.writeBatch(s.stage, parts, []message{{size: size, parts: len(parts)}}); err != nil {
		s.end() // the reader notices and tells; the caller must not hear of it within its own call
		return false
	}
	s.mu.Lock()
	s.busy = false
	waiting := len(s.msgs) > 0
	s.mu.Unlock()
	if waiting {
		s.nudge()
	}
	return true
}

// end closes the connection; reader and writer notice.
func (s *session) end() {
	s.once.Do(func() {
		s.ended.Store(true)
		close(s.done)
		_ = s.wire.Conn.Close()
	})
}

// write is the writer goroutine.
func (s *session) write() {
	var parts [][]byte
	var msgs []message
	for {
		select {
		case <-s.done:
			return
		case <-s.wake:
		}
		for mine := false; ; {
			s.mu.Lock()
			if !mine && s.busy {
				s.mu.Unlock()
				break // who is busy nudges when it is done
			}
			if len(s.msgs) == 0 {
				s.busy = s.busy && !mine
				s.mu.Unlock()
				break
			}
			s.busy, mine = true, true
			parts, s.parts = s.parts, parts[:0]
			msgs, s.msgs = s.msgs, msgs[:0]
			s.mu.Unlock()
			if err := s.writeBatch(s.stage, parts, msgs); err != nil {
				s.peer.down(s, fmt.Errorf("write: %w", err))
				return
			}
			clear(parts) // let go of the payloads
		}
	}
}

// writeBatch writes all messages: headers and small parts are gathered, large
// parts go to TLS uncopied.
func (s *session) writeBatch(stage []byte, parts [][]byte, msgs []message) error {
	stage = stage[:0]
	spill := func() error {
		if len(stage) == 0 {
			return nil
		}
		_, err := s.conn.Write(stage)
		stage = stage[:0]
		return err
	}
	for _, m := range msgs {
		var h [headerSize]byte
		putHeader(h[:], kindData, m.size)
		stage = append(stage, h[:]...)
		for _, p := range parts[:m.parts] {
			if len(p) < large {
				stage = append(stage, p...)
				if len(stage) < gather {
					continue
				}
				p = nil
			}
			if err := spill(); err != nil {
				return err
			}
			if len(p) > 0 {
				if _, err := s.conn.Write(p); err != nil {
					return err
				}
			}
		}
		parts = parts[m.parts:]
		s.queued.Add(-int64(m.size) - headerSize)
	}
	if err := spill(); err != nil {
		return err
	}
	return s.wire.Flush()
}

// read is the reader goroutine.
func (s *session) read() {
	var h [headerSize]byte
	for {
		if _, err := io.ReadFull(s.conn, h[:]); err != nil {
			s.peer.down(s, fmt.Errorf("read: %w", err))
			return
		}
		_, size, err := parseHeader(h[:], roleData)
		if err != nil {
			s.peer.mesh.refused.add(RefusedFrame, s.wire.RemoteAddr().String(), err)
			s.peer.down(s, err)
			return
		}
		msg := make([]byte, size)
		if _, err := io.ReadFull(s.conn, msg); err != nil {
			s.peer.down(s, fmt.Errorf("read: %w", err))
			return
		}
		if !s.peer.data(s, msg) {
			return
		}
	}
}
