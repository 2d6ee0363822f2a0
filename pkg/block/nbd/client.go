package nbd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/task"
)

// ClientConfig says what a Client connects to. The zero value of a bound means
// its default.
type ClientConfig struct {
	Network     string        // "unix" or "tcp"
	Address     string        // socket path, or host:port
	Export      string        // at most 4096 bytes
	Connections int           // 1 to 16; 1; more only if the server says that flush covers all
	Hold        time.Duration // how long a request survives an outage; 15 s
	MaxInFlight int           // requests of one connection before Submit waits; 256
	DialTimeout time.Duration // connect and negotiate; 5 s
}

// Bounds of the client's back-off: a failover is a matter of milliseconds, and a
// refused local socket costs next to nothing.
const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = 250 * time.Millisecond
)

func (c ClientConfig) withDefaults() ClientConfig {
	c.Connections = orDefault(c.Connections, 1)
	c.Hold = orDefault(c.Hold, 15*time.Second)
	c.MaxInFlight = orDefault(c.MaxInFlight, 256)
	c.DialTimeout = orDefault(c.DialTimeout, 5*time.Second)
	return c
}

// Validate reports every fault of the configuration.
func (c ClientConfig) Validate() error {
	var errs []error
	if c.Network != "unix" && c.Network != "tcp" {
		errs = append(errs, fmt.Errorf("network %q: use unix or tcp", c.Network))
	}
	if c.Address == "" {
		errs = append(errs, errors.New("address: must not be empty"))
	}
	if len(c.Export) > maxName {
		errs = append(errs, fmt.Errorf("export: %d bytes, at most %d are allowed", len(c.Export), maxName))
	}
	if c.Connections < 0 || c.Connections > 16 {
		errs = append(errs, fmt.Errorf("connections %d: use 1 to 16", c.Connections))
	}
	if c.Hold < 0 || c.MaxInFlight < 0 || c.DialTimeout < 0 {
		errs = append(errs, errors.New("bounds: must not be negative"))
	}
	return errors.Join(errs...)
}

// Client is a disk.Queue over an NBD server. It connects again by itself.
type Client struct {
	cfg   ClientConfig
	log   *slog.Logger
	first link // what the server said at Dial
	lanes []*lane
	next  atomic.Uint32
	tasks *task.Group
}

// Dial connects and negotiates. It tries again until ctx ends or the server
// refuses the export.
func Dial(ctx context.Context, cfg ClientConfig, log *slog.Logger) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("nbd client: %w", err)
	}
	c := &Client{cfg: cfg.withDefaults(), log: log.With("room", "nbd", "export", cfg.Export)}
	nc, first, err := c.dialFirst(ctx)
	if err != nil {
		return nil, fmt.Errorf("nbd: connect to %s: %w", cfg.Address, err)
	}
	c.first = first
	c.tasks = task.New(context.Background()) // ended by Close
	n := c.cfg.Connections
	if first.flags&txCanMultiConn == 0 {
		n = 1 // a flush on one connection would say nothing of the others
	}
	for i := range n {
		l := newLane(c)
		if i == 0 {
			l.ready, l.link = nc, first
		}
		c.lanes = append(c.lanes, l)
		c.tasks.Go("nbd lane", l.run)
	}
	return c, nil
}

func (c *Client) dialFirst(ctx context.Context) (net.Conn, link, error) {
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		nc, l, err := c.connect(ctx, c.cfg.DialTimeout)
		if err == nil || errors.Is(err, ErrRefused) {
			return nc, l, err
		}
		select {
		case <-ctx.Done():
			return nil, link{}, errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

// Size is the export's length in bytes when it was first seen.
func (c *Client) Size() int64 { return c.first.size }

// ReadOnly tells whether the server refuses writes.
func (c *Client) ReadOnly() bool { return c.first.flags&txReadOnly != 0 }

// Connected tells whether every connection is up.
func (c *Client) Connected() bool {
	for _, l := range c.lanes {
		if !l.connected() {
			return false
		}
	}
	return true
}

// Submit sends a batch on one connection. It waits while that connection has too
// much in flight. After Close, requests end with disk.ErrClosed before it
// returns. The extents of a Status may cover only the first part of its range.
func (c *Client) Submit(batch []*disk.Request) {
	l := c.lanes[int(c.next.Add(1))%len(c.lanes)]
	for _, r := range batch {
		if done, err := c.settleHere(r); done {
			r.Err = err
			disk.Finish(r)
			continue
		}
		l.submit(r)
	}
	l.wake()
}

// settleHere ends requests that need no server, or that this one cannot serve.
func (c *Client) settleHere(r *disk.Request) (done bool, err error) {
	if r.Op != disk.Flush {
		if err := disk.CheckRange(r.Off, r.Len, c.first.size); err != nil {
			return true, err
		}
		if r.Len == 0 {
			return true, nil
		}
	}
	flags := c.first.flags
	switch r.Op {
	case disk.Trim:
		return flags&(txSendTrim|txReadOnly) == 0, nil // advice, as is Cache
	case disk.Cache:
		return flags&txSendCache == 0, nil
	case disk.Zero:
		if flags&txSendZeroes == 0 || r.Flags&disk.FastZero != 0 && flags&txSendFastZero == 0 {
			return true, fmt.Errorf("nbd %v: %w", r.Op, disk.ErrNotSupported)
		}
	case disk.Status:
		if !c.first.meta {
			r.Extents = append(r.Extents[:0], disk.Extent{Len: r.Len})
			return true, nil
		}
	case disk.Read, disk.Write, disk.Flush:
	default:
		return true, fmt.Errorf("nbd %v: %w", r.Op, disk.ErrNotSupported)
	}
	return false, nil
}

// Close waits for what is in flight until ctx ends, and takes leave of the
// server. What is left then ends with disk.ErrClosed.
func (c *Client) Close(ctx context.Context) error {
	var late error
	for _, l := range c.lanes {
		if err := l.finish(ctx); err != nil {
			late = err
		}
	}
	err := c.tasks.Stop(c.cfg.DialTimeout)
	for _, l := range c.lanes {
		l.abandon()
	}
	return errors.Join(late, err)
}

// call is one request on the wire, or a part of one that is larger than the
// server takes at once.
type call struct {
	req    *disk.Request
	parts  *parts // nil for a whole request
	kind   uint16
	off, n int64
	since  time.Time
	errno  uint32
	text   string
}

// parts joins the ends of a split request.
type parts struct {
	mu   sync.Mutex // guards left, err
	left int
	err  error
}

// data is the part of the request's buffer that the call carries.
func (k *call) data() []byte {
	if k.kind != cmdRead && k.kind != cmdWrite {
		return nil
	}
	return k.req.Data[k.off-k.req.Off:][:k.n]
}

func (k *call) end(err error) {
	if p := k.parts; p != nil {
		p.mu.Lock()
		p.left--
		if p.err == nil {
			p.err = err
		}
		left, first := p.left, p.err
		p.mu.Unlock()
		if left > 0 {
			return
		}
		err = first
	}
	k.req.Err = err
	disk.Finish(k.req)
}

func (k *call) header(cookie uint64) request {
	q := request{kind: k.kind, cookie: cookie, offset: uint64(k.off), length: uint32(k.n)}
	if k.kind == cmdFlush {
		q.offset, q.length = 0, 0
	}
	if k.req.Flags&disk.FUA != 0 {
		q.flags |= cmdFlagFUA
	}
	if k.kind == cmdWriteZeroes && k.req.Flags&disk.NoHole != 0 {
		q.flags |= cmdFlagNoHole
	}
	if k.kind == cmdWriteZeroes && k.req.Flags&disk.FastZero != 0 {
		q.flags |= cmdFlagFastZero
	}
	return q
}

// commands maps operations to commands.
var commands = [...]uint16{
	disk.Read: cmdRead, disk.Write: cmdWrite, disk.Flush: cmdFlush, disk.Trim: cmdTrim,
	disk.Cache: cmdCache, disk.Zero: cmdWriteZeroes, disk.Status: cmdBlockStatus,
}

// calls cuts a request into what the server takes at once.
func (c *Client) calls(r *disk.Request, now time.Time) []*call {
	limit := int64(1 << 30) // lengths have 32 bits on the wire
	if r.Op == disk.Read || r.Op == disk.Write {
		limit = int64(c.first.maxPayload)
	}
	whole := &call{req: r, kind: commands[r.Op], off: r.Off, n: r.Len, since: now}
	switch {
	case r.Op == disk.Status:
		r.Extents, whole.n = r.Extents[:0], min(r.Len, limit)
		return []*call{whole}
	case r.Op == disk.Flush || r.Len <= limit:
		return []*call{whole}
	}
	var list []*call
	p := &parts{}
	for off, left := r.Off, r.Len; left > 0; off, left = off+limit, left-limit {
		list = append(list, &call{req: r, parts: p, kind: whole.kind, off: off, n: min(left, limit), since: now})
	}
	p.left = len(list)
	return list
}
