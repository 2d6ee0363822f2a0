package transport_test

import (
	"crypto/ed25519"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/transport"
	"beffroi.dev/pkg/transport/transporttest"
)

func TestTheRealMeshConforms(t *testing.T) {
	t.Parallel()
	transporttest.Run(t, func(t *testing.T) transporttest.World { return newWorld(t) })
}

// world joins two meshes by proxies that can be silenced in one direction, as a
// black hole: nobody is told by a closed socket.
type world struct {
	t       *testing.T
	pair    ident.UUID
	keys    [2]ed25519.PrivateKey
	ends    [2]*transport.Mesh
	proxies map[string]*proxy
	listen  map[string]string // path to the address of end 1
}

var testTiming = transport.Timing{
	Ping: 25 * time.Millisecond, Dead: 800 * time.Millisecond, Handshake: time.Second, // a busy machine must not look like a dead path
	RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond,
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, pair: ident.NewUUID(), proxies: map[string]*proxy{}, listen: map[string]string{}}
	for i := range w.keys {
		_, w.keys[i], _ = ed25519.GenerateKey(nil)
	}
	for _, path := range []string{transporttest.Path1, transporttest.Path2} {
		w.listen[path] = transporttest.Addr()
		w.proxies[path] = newProxy(t, w.listen[path])
	}
	t.Cleanup(func() {
		for i := range w.ends {
			w.Crash(i)
		}
	})
	return w
}

func (w *world) ID(end int) ident.Node { return ident.Node(10 + end) }

func (w *world) config(end int) transport.Config {
	other := 1 - end
	c := transport.Config{
		Self: w.ID(end), Pair: w.pair, Key: w.keys[end], Data: true, Timing: testTiming,
		DataPaths: []string{transporttest.Path1, transporttest.Path2},
	}
	peer := transport.Peer{ID: w.ID(other), PublicKey: w.keys[other].Public().(ed25519.PublicKey)}
	for _, path := range c.DataPaths {
		peer.Paths = append(peer.Paths, transport.Path{Name: path, Addr: w.proxies[path].addr})
		if end == 1 {
			c.Listen = append(c.Listen, transport.Path{Name: path, Addr: w.listen[path]})
		}
	}
	c.Peers = []transport.Peer{peer}
	return c
}

func (w *world) Start(end int, h transport.Handler) transport.Endpoint {
	m, err := transport.New(w.config(end), clock.System{}, quiet())
	if err != nil {
		w.t.Fatal(err)
	}
	m.Start(w.t.Context(), h)
	w.ends[end] = m
	return m
}

func (w *world) Crash(end int) {
	if w.ends[end] == nil {
		return
	}
	if err := w.ends[end].Close(); err != nil {
		w.t.Errorf("close: %v", err)
	}
	w.ends[end] = nil
}

func (w *world) Cut(from, to int, path string)  { w.proxies[path].set(from, true) }
func (w *world) Heal(from, to int, path string) { w.proxies[path].set(from, false) }

func (w *world) Await(what string, cond func() bool) {
	w.t.Helper()
	await(w.t, what, cond)
}

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// proxy forwards connections to one address. A direction that is cut swallows.
type proxy struct {
	addr   string
	target string
	mu     sync.Mutex // guards cut; cond waits on it
	cond   *sync.Cond
	cut    [2]bool // by the end that sends
}

func newProxy(t *testing.T, target string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), target: target}
	p.cond = sync.NewCond(&p.mu)
	t.Cleanup(func() { _ = l.Close(); p.set(0, false); p.set(1, false) })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.target)
			if err != nil {
				_ = in.Close()
				continue
			}
			go p.pump(in, out, 0)
			go p.pump(out, in, 1)
		}
	}()
	return p
}

func (p *proxy) set(from int, cut bool) {
	p.mu.Lock()
	p.cut[from] = cut
	p.mu.Unlock()
	p.cond.Broadcast()
}

// pump holds back what it read while its direction is cut: like a TCP sender
// whose packets are lost.
func (p *proxy) pump(from, to net.Conn, end int) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.cut[end] {
			p.cond.Wait()
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
