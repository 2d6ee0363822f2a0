package nbd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"beffroi.dev/pkg/disk"
)

// lane is one connection of a Client over its lives. Its run goroutine connects
// and reads; a writer goroutine per life sends.
type lane struct {
	c        *Client
	ready    net.Conn // negotiated by Dial; used by the first life
	link     link     // of the current life; owned by run
	answered bool     // the current life has had a reply; owned by run

	mu      sync.Mutex       // guards what follows
	work    sync.Cond        // the writer has something to do
	room    sync.Cond        // Submit may go on
	idle    chan struct{}    // closed when a closing lane has nothing left
	waiting []*call          // not sent in this life
	sent    map[uint64]*call // by cookie, without a reply
	cookie  uint64
	up      bool // a life has a socket
	closing bool // nothing new is taken

	gone chan struct{} // closed when run has returned
}

func newLane(c *Client) *lane {
	l := &lane{c: c, sent: map[uint64]*call{}, gone: make(chan struct{})}
	l.work.L, l.room.L = &l.mu, &l.mu
	return l
}

// submit queues a request; wake tells the writer.
func (l *lane) submit(r *disk.Request) {
	calls := l.c.calls(r, time.Now())
	l.mu.Lock()
	for len(l.waiting)+len(l.sent) >= l.c.cfg.MaxInFlight && !l.closing {
		l.work.Signal() // what was queued before must be able to finish
		l.room.Wait()
	}
	closing := l.closing
	if !closing {
		l.waiting = append(l.waiting, calls...)
	}
	l.mu.Unlock()
	if closing {
		r.Err = fmt.Errorf("nbd client: %w", disk.ErrClosed)
		disk.Finish(r)
	}
}

func (l *lane) wake() {
	l.mu.Lock()
	l.work.Signal()
	l.mu.Unlock()
}

func (l *lane) connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// run lives through connections until ctx ends, or the lane is closing and has
// nothing left to do.
func (l *lane) run(ctx context.Context) error {
	defer close(l.gone)
	nc, down, wait := l.ready, time.Time{}, minBackoff
	l.ready = nil
	for ctx.Err() == nil && !l.leaving() {
		if nc == nil {
			var err error
			if nc, l.link, err = l.c.connect(ctx, l.patience()); err != nil {
				if down.IsZero() && ctx.Err() == nil {
					down = time.Now()
					l.c.log.Warn("server unreachable", "cause", err)
				}
				if errors.Is(err, ErrRefused) {
					l.refuse(err)
				}
				l.pause(ctx, wait)
				wait = min(2*wait, maxBackoff)
				continue
			}
		}
		if !down.IsZero() {
			l.c.log.Info("server reachable again", "after", time.Since(down).Round(time.Millisecond), "resent", l.pending())
		}
		err := l.live(ctx, nc)
		nc, down = nil, time.Time{}
		if ctx.Err() == nil && !l.leaving() {
			l.c.log.Info("connection lost", "cause", err, "pending", l.pending())
		}
		if l.answered {
			wait = minBackoff
			continue
		}
		l.pause(ctx, wait) // a server that lets in and answers nothing
		wait = min(2*wait, maxBackoff)
	}
	return nil
}

// refuse ends what waits when the server does not give the export any more: to wait
// longer does not help.
func (l *lane) refuse(err error) {
	l.mu.Lock()
	all := l.waiting
	l.waiting = nil
	l.doneLocked()
	l.mu.Unlock()
	for _, k := range all {
		k.end(fmt.Errorf("nbd %v: %w: %w", k.req.Op, err, disk.ErrClosed))
	}
}

// patience is how long the next attempt to connect may last: not longer than the
// oldest request may be held.
func (l *lane) patience() time.Duration {
	l.expire()
	l.mu.Lock()
	defer l.mu.Unlock()
	bound := l.c.cfg.DialTimeout
	if len(l.waiting) > 0 {
		bound = min(bound, max(minBackoff, time.Until(l.waiting[0].since.Add(l.c.cfg.Hold))))
	}
	return bound
}

func (l *lane) pause(ctx context.Context, d time.Duration) {
	l.expire()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (l *lane) pending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting) + len(l.sent)
}

func (l *lane) leaving() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing && len(l.waiting)+len(l.sent) == 0
}

// expire ends requests that were held too long. It is called between lives only,
// when nobody touches their buffers.
func (l *lane) expire() {
	limit := time.Now().Add(-l.c.cfg.Hold)
	var late []*call
	l.mu.Lock()
	l.waiting = slices.DeleteFunc(l.waiting, func(k *call) bool {
		if k.since.After(limit) {
			return false
		}
		late = append(late, k)
		return true
	})
	l.doneLocked()
	l.mu.Unlock()
	for _, k := range late {
		k.end(fmt.Errorf("nbd %v: no server for %v: %w", k.req.Op, l.c.cfg.Hold, disk.ErrTimeout))
	}
}

// doneLocked follows every removal of a call.
func (l *lane) doneLocked() {
	l.room.Broadcast()
	if l.idle != nil && len(l.waiting)+len(l.sent) == 0 {
		close(l.idle)
		l.idle = nil
	}
}

// live serves one connection to its end, then takes back what had no reply.
func (l *lane) live(ctx context.Context, nc net.Conn) error {
	defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
	l.mu.Lock()
	l.up = true
	l.mu.Unlock()
	written := make(chan struct{})
	l.c.tasks.Go("nbd sender", func(context.Context) error {
		defer close(written)
		if err := l.write(nc); err != nil {
			_ = nc.Close() // which ends the reader
		}
		return nil
	})
	l.answered = false
	err := l.read(nc)
	l.mu.Lock()
	l.up = false
	l.work.Broadcast()
	l.mu.Unlock()
	_ = nc.Close()
	select { // a stopped group starts no writer
	case <-written:
	case <-ctx.Done():
	}
	l.takeBack()
	return err
}

// takeBack queues again, in their old order, the calls that had no reply. The old
// connection is closed by now.
func (l *lane) takeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	cookies := make([]uint64, 0, len(l.sent))
	for cookie := range l.sent {
		cookies = append(cookies, cookie)
	}
	slices.Sort(cookies)
	again := make([]*call, 0, len(cookies)+len(l.waiting))
	for _, cookie := range cookies {
		k := l.sent[cookie]
		k.errno, k.text = 0, ""
		if k.kind == cmdBlockStatus {
			k.req.Extents = k.req.Extents[:0]
		}
		again = append(again, k)
	}
	clear(l.sent)
	l.waiting = append(again, l.waiting...)
}

// finish refuses new requests and waits until the others are done.
func (l *lane) finish(ctx context.Context) error {
	l.mu.Lock()
	l.closing = true
	l.room.Broadcast()
	l.work.Broadcast()
	idle := make(chan struct{})
	if len(l.waiting)+len(l.sent) == 0 {
		close(idle)
	} else {
		l.idle = idle
	}
	l.mu.Unlock()
	select {
	case <-idle:
		l.leave(ctx)
		return nil
	case <-ctx.Done():
		return fmt.Errorf("nbd client closed with %d requests in flight: %w", l.pending(), ctx.Err())
	}
}

// leave gives an idle lane the time to tell the server.
func (l *lane) leave(ctx context.Context) {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-l.gone:
	case <-t.C:
	case <-ctx.Done():
	}
}

// abandon ends what is left after the goroutines are gone.
func (l *lane) abandon() {
	l.mu.Lock()
	left := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, k := range left {
		k.end(fmt.Errorf("nbd client: %w", disk.ErrClosed))
	}
}
