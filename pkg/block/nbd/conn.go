package nbd

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/disk"
)

// readBuffer holds what one read of the socket may bring: 60 writes of 4 KiB,
// which become one Submit.
const readBuffer = 256 << 10

// conn is one connection. Its reader owns buf, batch, ops and the negotiated fields.
// It is the disk.Sink of its requests: whoever finished some sends the replies, if
// the socket takes them at once; the writer goroutine sends what is left.
type conn struct {
	srv     *Server
	nc      net.Conn
	exports Exports // what this client may open

	export   string // guarded by srv.mu, as is attached
	attached bool

	// Negotiated, fixed before the writer starts.
	queue      disk.Queue
	size       int64
	readOnly   bool
	structured bool
	meta       bool
	noZeroes   bool

	buf   []byte
	r, w  int             // buf[r:w] is unread
	batch []*disk.Request // gathered for one Submit
	ops   []*op           // the same

	raw syscall.RawConn // nil: only the writer sends

	// Of whoever is sending.
	out  []byte
	vec  net.Buffers
	rest []byte // the part of out that the socket did not take

	settled chan struct{} // closed when ended and queued is 0
	closed  chan struct{} // closed when the socket is

	mu        sync.Mutex // guards what follows
	work      sync.Cond  // the writer has something to do
	room      sync.Cond  // the reader may go on
	sending   bool       // somebody sends
	finished  []*op      // in want of a reply
	readBytes int64      // bytes of read data in finished
	spare     []*op      // the writer's last list, empty
	queued    int        // with the queue
	inFlight  int        // read and not yet replied to
	bytes     int64      // payload of those
	ended     bool       // nothing more is submitted
	readDone  bool       // the reader has returned
	dead      bool       // nothing more is sent
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, buf: make([]byte, readBuffer), settled: make(chan struct{}), closed: make(chan struct{})}
	c.work.L, c.room.L = &c.mu, &c.mu
	c.exports = s.exports
	if d, ok := s.exports.(Doorkeeper); ok {
		c.exports = d.For(nc)
	}
	return c
}

// run serves the connection to its end. Its errors are the peer's business and
// were counted; they never end the server.
func (c *conn) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, c.kill)()
	_ = c.nc.SetDeadline(time.Now().Add(c.srv.cfg.Handshake))
	ok, err := c.negotiate(ctx)
	_ = c.nc.SetDeadline(time.Time{})
	if err != nil {
		c.count(err)
	}
	c.mu.Lock()
	ok = ok && err == nil && !c.ended // an end that came before the line above lost its deadline
	c.mu.Unlock()
	if ok {
		written := make(chan struct{})
		c.prepareSend()
		c.srv.tasks.Go("nbd writer", func(context.Context) error {
			defer close(written)
			c.write()
			return nil
		})
		c.count(c.read())
		c.stopReading()
		select { // a stopped group starts no writer
		case <-written:
		case <-ctx.Done():
		}
	}
	c.kill()
	close(c.closed)
	return nil
}

// stopReading ends submission and lets the writer finish.
func (c *conn) stopReading() {
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.srv.cfg.DrainWait))
	c.mu.Lock()
	c.readDone = true
	c.endLocked()
	c.mu.Unlock()
}

// count records why the connection ended, if that is our doing.
func (c *conn) count(err error) {
	reason := ""
	switch {
	case errors.Is(err, errMagic):
		reason = reasonMagic
	case errors.Is(err, errOversize):
		reason = reasonOversize
	case errors.Is(err, errBigOption):
		reason = reasonOption
	case errors.Is(err, errManyOptions):
		reason = reasonOptions
	case errors.Is(err, errFlags):
		reason = reasonFlags
	case errors.Is(err, errUnsettled):
		reason = reasonUnsettled
	case errors.Is(err, errSlow):
		reason = reasonHandshake
	default:
		return
	}
	c.srv.reasons.add(reason, c.export)
}

// end stops taking requests; what is in flight is answered, then the socket is
// closed. It does not block.
func (c *conn) end() {
	c.mu.Lock()
	c.endLocked()
	c.mu.Unlock()
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
}

func (c *conn) endLocked() {
	if !c.ended {
		c.ended = true
		if c.queued == 0 {
			c.settleLocked()
		}
	}
	c.work.Signal()
	c.room.Signal()
}

// settleLocked is called once: no request of this connection can touch the
// queue any more.
func (c *conn) settleLocked() { close(c.settled) }

// kill cuts the connection: nothing more is sent.
func (c *conn) kill() {
	c.mu.Lock()
	c.dead = true
	c.endLocked()
	forget := c.queued == 0
	c.mu.Unlock()
	_ = c.nc.Close()
	if forget {
		c.srv.forget(c)
	}
}

// isOver tells whether the connection has ended or its peer has gone, in which
// case it is ended here: what the peer left in the socket is dropped.
func (c *conn) isOver() bool {
	c.mu.Lock()
	over := c.ended
	c.mu.Unlock()
	if !over && hungUp(c.nc) {
		c.end()
		over = true
	}
	return over
}

// finish is called by the queue, once for each submitted request; Settle follows.
// It must not block.
func (c *conn) finish(o *op) {
	gone := false
	if o.Err != nil {
		gone = errors.Is(o.Err, disk.ErrClosed)
		o.errno = errnoOf(o.Op, o.Err)
	}
	c.mu.Lock()
	c.queued--
	wasEnded := c.ended
	if gone {
		c.endLocked()
	}
	if wasEnded && c.queued == 0 {
		c.settleLocked()
	}
	drop, forget := gone || c.dead, c.dead && c.queued == 0
	if drop {
		c.inFlight--
		c.bytes -= int64(len(o.Data))
	} else {
		c.enqueueLocked(o)
	}
	if drop {
		c.work.Signal()
	}
	c.mu.Unlock()
	if gone && !wasEnded {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
	if drop {
		c.srv.pools.put(o)
	}
	if forget {
		c.srv.forget(c)
	}
}

var errOversize = errors.New(reasonOversize)

// fill reads once from the socket.
func (c *conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if len(c.buf)-c.w < len(c.buf)/4 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// hungUp asks the kernel whether the peer closed the socket. A connection that
// cannot tell is taken for alive.
func hungUp(nc net.Conn) bool {
	var events int16 = unix.POLLHUP
	var rc interface{ Control(func(uintptr)) error }
	var err error
	switch n := nc.(type) {
	case *net.UnixConn: // a half-closed peer still wants its replies: POLLHUP is both halves
		rc, err = n.SyscallConn()
	case *net.TCPConn: // which TCP cannot see; a peer that shut down has done with us
		events |= unix.POLLRDHUP
		rc, err = n.SyscallConn()
	default:
		return false
	}
	if err != nil {
		return true
	}
	over := true // a closed descriptor is over
	_ = rc.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: events}}
		_, err := unix.Poll(p, 0)
		over = err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLRDHUP) != 0
	})
	return over
}
