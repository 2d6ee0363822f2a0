package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// chunkBytes is the most that one read takes off a connection, and queueChunks
// how many wait in a link: 4 MiB, as much as a real one holds in its buffers.
const (
	chunkBytes  = 64 << 10
	queueChunks = 64
	// retransmit is what a lost packet costs a TCP stream on a quiet link.
	retransmit = 200 * time.Millisecond
)

// way is one direction of one link, seen from the node that sends into it.
type way struct {
	link string // fibre1, fibre2, lan-a, lan-b, lan-w
	from string // node name; of a lan: leaving the node ("a") or entering it ("")
}

// shape is how a way behaves now.
type shape struct {
	Cut   bool          `json:"cut"`
	Delay time.Duration `json:"delay"`
	Loss  float64       `json:"loss"`
}

// fabric owns all links. A cut link is silent: what is sent into it waits, as
// TCP would retransmit it, and nobody is told.
type fabric struct {
	log    *slog.Logger
	cabled bool // vm mode: cables carry the links of a and b, and shape them; set before anything is served

	mu      sync.Mutex // guards ways, silent, pipes, changed
	ways    map[way]shape
	silent  map[string]bool // nodes without power
	pipes   map[*pipe]bool
	changed chan struct{} // closed and replaced when anything changes
}

func newFabric(log *slog.Logger) *fabric {
	return &fabric{log: log, ways: map[way]shape{}, silent: map[string]bool{}, pipes: map[*pipe]bool{}, changed: make(chan struct{})}
}

func (f *fabric) update(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

// set changes some ways.
func (f *fabric) set(ways []way, change func(*shape)) {
	f.update(func() {
		for _, w := range ways {
			s := f.ways[w]
			change(&s)
			f.ways[w] = s
		}
	})
}

// power silences a node, or brings it back. A machine that starts answers the
// packets of its former connections with a reset.
func (f *fabric) power(node string, on bool) {
	f.update(func() {
		f.silent[node] = !on
		for p := range f.pipes {
			if on && (p.from == node || p.to == node) {
				p.close()
			}
		}
	})
}

// state returns what a direction between two nodes over a path is now, and a
// channel that is closed when anything changes.
func (f *fabric) state(from, to, path string) (shape, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all shape
	for _, w := range waysBetween(from, to, path) {
		if f.cabled && w.link != "lan-w" { // once on the way to the witness, not twice
			continue
		}
		s := f.ways[w]
		all.Cut = all.Cut || s.Cut
		all.Delay += s.Delay
		all.Loss = 1 - (1-all.Loss)*(1-s.Loss)
	}
	all.Cut = all.Cut || f.silent[from] || f.silent[to]
	return all, f.changed
}

// waysBetween lists the ways that a packet takes.
func waysBetween(from, to, path string) []way {
	if path != "lan" {
		return []way{{path, from}}
	}
	return []way{{"lan-" + short(from), from}, {"lan-" + short(to), ""}}
}

func short(node string) string { return node[:1] }

// pipe is one connection through the fabric: from dialled, to listens.
type pipe struct {
	f              *fabric
	from, to, path string
	dialled, other net.Conn
	once           sync.Once
	done           chan struct{}
}

func (p *pipe) close() {
	p.once.Do(func() {
		close(p.done)
		_ = p.dialled.Close()
		_ = p.other.Close()
	})
}

// serve accepts what node from dials toward node to over a path.
func (f *fabric) serve(ctx context.Context, l net.Listener, from, to, path, target string) {
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go f.join(ctx, c, from, to, path, target)
	}
}

// join connects the two ends once both directions let a handshake through.
func (f *fabric) join(ctx context.Context, c net.Conn, from, to, path, target string) {
	for {
		there, changed := f.state(from, to, path)
		back, _ := f.state(to, from, path)
		if !there.Cut && !back.Cut {
			break
		}
		select {
		case <-changed:
		case <-time.After(3 * time.Second): // the dialling end has given up by now
			_ = c.Close()
			return
		case <-ctx.Done():
			_ = c.Close()
			return
		}
	}
	other, err := net.DialTimeout("tcp", target, time.Second)
	if err != nil {
		_ = c.Close()
		return
	}
	p := &pipe{f: f, from: from, to: to, path: path, dialled: c, other: other, done: make(chan struct{})}
	f.mu.Lock()
	f.pipes[p] = true
	f.mu.Unlock()
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { defer wg.Done(); p.carry(from, to, c, other) }()
	go func() { defer wg.Done(); p.carry(to, from, other, c) }()
	go func() {
		select {
		case <-ctx.Done():
			p.close()
		case <-p.done:
		}
	}()
	wg.Wait()
	f.mu.Lock()
	delete(f.pipes, p)
	f.mu.Unlock()
}

type chunk struct {
	data []byte
	due  time.Time
}

// carry moves one direction of a pipe, late, lossy or not at all as its links
// are now.
func (p *pipe) carry(from, to string, src, dst net.Conn) {
	queue := make(chan chunk, queueChunks)
	go func() {
		defer close(queue)
		for {
			buf := make([]byte, chunkBytes)
			n, err := src.Read(buf)
			if n > 0 {
				s, _ := p.f.state(from, to, p.path)
				d := s.Delay
				if s.Loss > 0 && rand.Float64() < s.Loss {
					d += retransmit
				}
				select {
				case queue <- chunk{buf[:n], time.Now().Add(d)}:
				case <-p.done:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	for c := range queue {
		if !p.wait(from, to, c.due) {
			return
		}
		if _, err := dst.Write(c.data); err != nil {
			p.close()
			return
		}
	}
	// The sender has closed. The end travels as its data does; a node without
	// power says nothing, so that nobody learns of its death from a socket.
	if p.wait(from, to, time.Now()) {
		p.close()
	}
}

// wait returns when the direction is open and the time has come; false when the
// pipe ended first.
func (p *pipe) wait(from, to string, due time.Time) bool {
	for {
		s, changed := p.f.state(from, to, p.path)
		if !s.Cut {
			d := time.Until(due)
			if d <= 0 {
				return true
			}
			select {
			case <-time.After(d):
			case <-p.done:
				return false
			}
			continue
		}
		select {
		case <-changed:
		case <-p.done:
			return false
		}
	}
}

// parseLink turns the words of cut, heal and shape into ways. from is empty for
// both directions.
func parseLink(link, from string) ([]way, error) {
	switch link {
	case "fibre1", "fibre2":
		switch from {
		case "":
			return []way{{link, "a"}, {link, "b"}}, nil
		case "a", "b":
			return []way{{link, from}}, nil
		}
		return nil, fmt.Errorf("link %s joins a and b: --from must be one of them, not %q", link, from)
	case "lan-a", "lan-b", "lan-w":
		owner := map[string]string{"lan-a": "a", "lan-b": "b", "lan-w": "witness"}[link]
		switch from {
		case "":
			return []way{{link, owner}, {link, ""}}, nil
		case owner:
			return []way{{link, owner}}, nil
		case "a", "b", "witness":
			return []way{{link, ""}}, nil
		}
		return nil, fmt.Errorf("--from %q: use a, b or witness", from)
	}
	return nil, fmt.Errorf("link %q: use fibre1, fibre2, lan-a, lan-b or lan-w", link)
}
