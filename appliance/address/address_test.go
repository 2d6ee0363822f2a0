package address_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"beffroi.dev/appliance/address"
	"beffroi.dev/appliance/socket"
)

// machine has the address or not; a hold takes as long as the test wants.
type machine struct {
	mu    sync.Mutex
	has   bool
	entry chan struct{} // a hold has begun
	gate  chan struct{} // and may end
	fail  error
}

func (m *machine) set(has bool) { m.mu.Lock(); m.has = has; m.mu.Unlock() }

func (m *machine) held() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.has }

func (m *machine) Hold(context.Context) error {
	if m.gate != nil {
		m.entry <- struct{}{}
		<-m.gate
	}
	if m.fail == nil {
		m.set(true)
	}
	return m.fail
}

func (m *machine) Drop() error { m.set(false); return nil }

func start(t *testing.T, m *machine) (*address.Server, *address.Client) {
	dir, err := os.MkdirTemp("", "addr") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "a")
	l, err := socket.Bind(path)
	if err != nil {
		t.Fatal(err)
	}
	s := address.NewServer(m, m.Drop)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, address.NewClient(path)
}

func TestItIsHeldAndGivenBack(t *testing.T) {
	m := &machine{}
	_, c := start(t, m)
	for range 2 {
		if err := c.Hold(t.Context()); err != nil || !m.held() {
			t.Errorf("Hold = %v, held %v", err, m.held())
		}
	}
	for range 2 {
		if err := c.Drop(); err != nil || m.held() {
			t.Errorf("Drop = %v, held %v", err, m.held())
		}
	}
	m.fail = errors.New("the lan link is gone")
	if err := c.Hold(t.Context()); err == nil || !strings.Contains(err.Error(), "lan link is gone") {
		t.Errorf("Hold = %v; want why", err)
	}
}

func TestAFencedProcessHoldsItNoMore(t *testing.T) {
	m := &machine{}
	s, c := start(t, m)
	if err := c.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Fence(os.Getpid()); err != nil || m.held() {
		t.Errorf("Fence = %v, held %v", err, m.held())
	}
	if err := c.Hold(t.Context()); err == nil || m.held() {
		t.Errorf("Hold = %v, held %v; want it refused", err, m.held())
	}
	if err := s.Fence(os.Getpid() + 1); err != nil { // another one was struck: this process is the next life
		t.Fatal(err)
	}
	if err := c.Hold(t.Context()); err != nil || !m.held() {
		t.Errorf("Hold = %v, held %v", err, m.held())
	}
}

func TestAHoldUnderWayIsUndoneByTheFence(t *testing.T) {
	m := &machine{entry: make(chan struct{}), gate: make(chan struct{})}
	s, c := start(t, m)
	asked := make(chan error, 1)
	go func() { asked <- c.Hold(t.Context()) }()
	<-m.entry
	if err := s.Fence(os.Getpid()); err != nil { // returns while the hold goes on
		t.Fatal(err)
	}
	close(m.gate)
	select {
	case err := <-asked:
		if err == nil || m.held() {
			t.Errorf("Hold = %v, held %v; want it undone", err, m.held())
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no answer")
	}
}
