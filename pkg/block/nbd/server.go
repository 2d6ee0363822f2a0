package nbd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/task"
)

// Server offers exports on any number of listeners.
type Server struct {
	cfg     Config
	exports Exports
	log     *slog.Logger
	reasons *reasons
	pools   pools
	tasks   *task.Group

	mu     sync.Mutex // guards conns, closed
	conns  map[*conn]struct{}
	closed bool
}

// NewServer makes a server that listens nowhere yet.
func NewServer(cfg Config, exports Exports, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("nbd server: %w", err)
	}
	log = log.With("room", "nbd")
	return &Server{
		cfg:     cfg.withDefaults(),
		exports: exports,
		log:     log,
		reasons: newReasons(log),
		tasks:   task.New(context.Background()), // ended by Close
		conns:   map[*conn]struct{}{},
	}, nil
}

// Serve accepts connections until ctx or the server ends, and closes l. The
// connections live on until Drain or Close.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	defer context.AfterFunc(s.tasks.Context(), func() { _ = l.Close() })()
	for {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil || s.tasks.Context().Err() != nil:
			if err == nil {
				_ = nc.Close()
			}
			return s.failure()
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("nbd: accept: %w", err)
		case err != nil: // out of descriptors, most likely: others may end soon
			s.log.Warn("accept failed", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		s.start(nc)
	}
}

// failure is why the server ended, nil if it was asked to.
func (s *Server) failure() error {
	cause := context.Cause(s.tasks.Context())
	if cause == nil || errors.Is(cause, task.ErrStopped) {
		return nil
	}
	return fmt.Errorf("nbd: %w", cause)
}

// start owns nc.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	full := len(s.conns) >= s.cfg.MaxConnections
	if !s.closed && !full {
		s.conns[c] = struct{}{}
	}
	refused := s.closed || full
	s.mu.Unlock()
	if refused {
		if full {
			s.reasons.add(reasonFull, "")
		}
		_ = nc.Close()
		return
	}
	s.tasks.Go("nbd connection", c.run)
}

// forget drops a connection that is closed and whose requests have finished.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// of lists the connections that picked an export.
func (s *Server) of(name string) []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*conn
	for c := range s.conns {
		if c.export == name && c.attached {
			list = append(list, c)
		}
	}
	return list
}

// attach makes c visible as a connection of an export.
func (s *Server) attach(c *conn, name string) {
	s.mu.Lock()
	c.export, c.attached = name, true
	s.mu.Unlock()
}

// settle waits until no request of an ended connection of the same export is
// with the queue any more, c itself excepted.
func (s *Server) settle(ctx context.Context, c *conn) error {
	bound := time.NewTimer(s.cfg.SettleWait)
	defer bound.Stop()
	for _, other := range s.of(c.export) {
		if other == c || !other.isOver() {
			continue
		}
		select {
		case <-other.settled:
		case <-bound.C:
			return fmt.Errorf("export %q: waited %v: %w", c.export, s.cfg.SettleWait, errUnsettled)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

var errUnsettled = errors.New(reasonUnsettled)

// Drain ends all connections of an export: requests with the queue are answered,
// nothing new is taken. It returns when they are closed, within
// Config.DrainWait; a straggler is cut. The caller withdraws the export first,
// or clients are back at once.
func (s *Server) Drain(ctx context.Context, name string) error {
	return s.end(ctx, s.of(name))
}

func (s *Server) end(ctx context.Context, list []*conn) error {
	for _, c := range list {
		c.end()
	}
	bound := time.NewTimer(s.cfg.DrainWait)
	defer bound.Stop()
	cut := 0
	for _, c := range list {
		select {
		case <-c.closed:
			continue
		case <-bound.C:
			bound.Reset(0) // the bound is one for all
		case <-ctx.Done():
		}
		c.kill()
		cut++
	}
	if cut > 0 {
		return fmt.Errorf("nbd: %d connections cut with requests in flight: %w", cut, disk.ErrTimeout)
	}
	return nil
}

// Close drains every connection and ends Serve.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	list := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		list = append(list, c)
	}
	s.mu.Unlock()
	err := s.end(ctx, list)
	return errors.Join(err, s.tasks.Stop(s.cfg.DrainWait))
}

// Stats counts what a server sees.
type Stats struct {
	Connections int               // open now
	Ended       map[string]uint64 // connections that we ended, by reason, since the start
}

// Stats reads the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	n := len(s.conns)
	s.mu.Unlock()
	return Stats{Connections: n, Ended: s.reasons.snapshot()}
}
