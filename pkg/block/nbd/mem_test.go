package nbd_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
)

// memory is a queue over RAM whose completions come from a goroutine of its own,
// as those of a volume do.
type memory struct {
	batches chan []*disk.Request
	data    []byte

	mu      sync.Mutex // guards what follows
	written []bool     // by block
	hold    chan struct{}
	err     error
	flushes int
	fua     int
	seen    []disk.Request
}

func newMemory(t testing.TB, size int64) *memory {
	m := &memory{batches: make(chan []*disk.Request, 64), data: make([]byte, size), written: make([]bool, (size+4095)/4096)}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for batch := range m.batches {
			for _, r := range batch {
				m.perform(r)
			}
		}
	}()
	t.Cleanup(func() { close(m.batches); <-stopped })
	return m
}

func (m *memory) Size() int64 { return int64(len(m.data)) }

// at is the byte at an offset.
func (m *memory) at(off int) byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data[off]
}

func (m *memory) Submit(batch []*disk.Request) {
	m.batches <- append([]*disk.Request(nil), batch...)
}

// fail makes every later request end with err.
func (m *memory) fail(err error) {
	m.mu.Lock()
	m.err = err
	m.mu.Unlock()
}

// pause holds all completions until the returned function is called.
func (m *memory) pause() (resume func()) {
	hold := make(chan struct{})
	m.mu.Lock()
	m.hold = hold
	m.mu.Unlock()
	return func() {
		m.mu.Lock()
		m.hold = nil
		m.mu.Unlock()
		close(hold)
	}
}

func (m *memory) perform(r *disk.Request) {
	m.mu.Lock()
	hold := m.hold
	m.mu.Unlock()
	if hold != nil {
		<-hold
	}
	m.mu.Lock()
	r.Err = m.err
	if r.Err == nil && r.Op != disk.Flush {
		r.Err = disk.CheckRange(r.Off, r.Len, m.Size())
	}
	if r.Err == nil {
		m.apply(r)
	}
	if len(m.seen) < 1000 {
		m.seen = append(m.seen, disk.Request{Op: r.Op, Flags: r.Flags, Off: r.Off, Len: r.Len})
	}
	m.mu.Unlock()
	disk.Finish(r)
}

func (m *memory) apply(r *disk.Request) {
	if r.Flags&disk.FUA != 0 {
		m.fua++
	}
	switch r.Op {
	case disk.Read:
		copy(r.Data, m.data[r.Off:])
	case disk.Write:
		copy(m.data[r.Off:], r.Data)
		m.mark(r, true)
	case disk.Zero:
		if r.Flags&disk.FastZero != 0 && r.Flags&disk.NoHole != 0 {
			r.Err = disk.ErrNotSupported
			return
		}
		clear(m.data[r.Off : r.Off+r.Len])
		m.mark(r, r.Flags&disk.NoHole != 0)
	case disk.Trim:
		clear(m.data[r.Off : r.Off+r.Len])
		m.mark(r, false)
	case disk.Flush:
		m.flushes++
	case disk.Status:
		for off := r.Off; off < r.Off+r.Len; {
			n := min(4096-off%4096, r.Off+r.Len-off)
			w := m.written[off/4096]
			r.Extents = append(r.Extents, disk.Extent{Len: n, Hole: !w, Zero: !w})
			off += n
		}
	}
}

func (m *memory) mark(r *disk.Request, written bool) {
	for b := r.Off / 4096; b*4096 < r.Off+r.Len; b++ {
		if written || b*4096 >= r.Off && (b+1)*4096 <= r.Off+r.Len {
			m.written[b] = written
		}
	}
}

func (m *memory) ops() []disk.Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]disk.Request(nil), m.seen...)
}

// shelf is a set of exports that tests change while they are served.
type shelf struct {
	mu sync.Mutex
	m  map[string]nbd.Export
}

func (s *shelf) Open(name string) (nbd.Export, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.m[name]
	if !ok {
		return e, errUnknown
	}
	if e.Queue == nil {
		return e, disk.ErrClosed
	}
	return e, nil
}

func (s *shelf) List() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for n := range s.m {
		names = append(names, n)
	}
	return names
}

func (s *shelf) set(e nbd.Export) {
	s.mu.Lock()
	s.m[e.Name] = e
	s.mu.Unlock()
}

type unknown struct{}

func (unknown) Error() string { return "no such export" }

var errUnknown = unknown{}

// served is a server on a unix socket of its own.
type served struct {
	*nbd.Server
	shelf  *shelf
	socket string
}

func serve(t testing.TB, cfg nbd.Config, exports ...nbd.Export) *served {
	t.Helper()
	s := &served{shelf: &shelf{m: map[string]nbd.Export{}}, socket: filepath.Join(t.TempDir(), "nbd.sock")}
	for _, e := range exports {
		s.shelf.set(e)
	}
	var err error
	if s.Server, err = nbd.NewServer(cfg, s.shelf, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Errorf("Serve: %v", err)
		}
		bound, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Close(bound)
	})
	return s
}
