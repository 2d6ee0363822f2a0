package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/tools/histories/history"
	"beffroi.dev/tools/histories/rig"
)

const (
	// hold is how long a request survives an outage: longer than any run, so that
	// only the death of its node leaves an outcome open.
	hold = 10 * time.Minute
	// endBound is how long a request may last once everything is healed.
	endBound = 30 * time.Second
	// thinking is the longest pause of a client between two requests: the checker
	// must be able to follow.
	thinking = 6 * time.Millisecond
)

// load is the clients of both nodes.
type load struct {
	rig     *rig.Rig
	history *history.History
	log     *slog.Logger
	clients []*client
	nodes   map[string]*power
	ids     atomic.Int64
	values  atomic.Uint64
	wg      sync.WaitGroup
	quit    chan struct{}

	mu      sync.Mutex // guards what follows
	counts  map[string]int
	longest stall
	broken  error // the first torn block
}

// stall is the longest that an operation lasted which was acknowledged.
type stall struct {
	lasted, at time.Duration
	what       string
}

// power is one node as the clients see it: its life ends when it is killed.
type power struct {
	mu   sync.Mutex // guards life, end
	life context.Context
	end  context.CancelFunc
}

func (p *power) now() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

func (p *power) on() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life, p.end = context.WithCancel(context.Background())
}

func (p *power) off() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

// client writes the blocks of its own, every count-th one from its number, and
// reads all.
type client struct {
	l      *load
	number int
	node   rig.Node
	power  *power
	rng    *rand.Rand
	id     int // of this life
}

func newLoad(r *rig.Rig, o options, log *slog.Logger) *load {
	l := &load{rig: r, history: history.New(), log: log, nodes: map[string]*power{}, counts: map[string]int{}, quit: make(chan struct{})}
	for _, name := range []string{"a", "b"} {
		l.nodes[name] = &power{}
		l.nodes[name].on()
	}
	for i := range o.clients {
		name := []string{"a", "b"}[i%2]
		l.clients = append(l.clients, &client{
			l: l, number: i, node: r.Node(name), power: l.nodes[name], rng: rand.New(rand.NewPCG(o.seed, uint64(i)+1)),
		})
	}
	return l
}

func (l *load) start(ctx context.Context) {
	for _, c := range l.clients {
		l.wg.Add(1)
		go func() {
			defer l.wg.Done()
			c.run(ctx)
		}()
	}
}

// stop lets every client finish its request, within a bound.
func (l *load) stop() error {
	close(l.quit)
	done := make(chan struct{})
	go func() {
		l.wg.Wait()
		close(done)
	}()
	var stuck error
	select {
	case <-done:
	case <-time.After(endBound):
		stuck = fmt.Errorf("some requests had no answer %v after everything was healed", endBound)
		for _, p := range l.nodes {
			p.off() // their outcomes stay open
		}
		<-done
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(stuck, l.broken)
}

func (l *load) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what]++
}

// run is the lives of a client, one for each life of its node.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil && !c.quitting() {
		life := c.power.now()
		if life.Err() == nil {
			c.id = int(c.l.ids.Add(1))
			c.live(life)
		}
		select {
		case <-c.l.quit:
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *client) quitting() bool {
	select {
	case <-c.l.quit:
		return true
	default:
		return false
	}
}

// live issues one request after another until the node dies.
func (c *client) live(life context.Context) {
	q, err := nbd.Dial(life, nbd.ClientConfig{Network: "unix", Address: c.node.NBD, Export: exportName, Hold: hold}, c.l.log)
	if err != nil {
		if life.Err() == nil {
			c.l.count(fmt.Sprintf("dial of node %s failed (%v)", c.node.Name, err))
		}
		return
	}
	defer func() { // what is in flight ends at once
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = q.Close(over)
	}()
	for life.Err() == nil && !c.quitting() {
		if !c.one(life, q) {
			return
		}
		time.Sleep(time.Duration(c.rng.Int64N(int64(thinking))))
	}
}

// one is one request; false when its node died meanwhile.
func (c *client) one(life context.Context, q *nbd.Client) bool {
	l := c.l
	block := c.rng.IntN(blocks)
	o := history.Op{Client: c.id}
	done := make(chan struct{})
	r := &disk.Request{Op: disk.Read, Len: disk.BlockSize, Data: make([]byte, disk.BlockSize), Done: func(*disk.Request) { close(done) }}
	if c.rng.IntN(2) == 0 {
		own := (blocks - c.number + len(l.clients) - 1) / len(l.clients)
		block = c.number + len(l.clients)*c.rng.IntN(own)
		o.Write, o.Value, r.Op = true, l.values.Add(1), disk.Write
		history.Fill(r.Data, o.Value)
		if c.rng.IntN(4) == 0 {
			r.Flags = disk.FUA
		}
	}
	r.Off = int64(block) * disk.BlockSize
	o.Call = l.history.Now()
	q.Submit([]*disk.Request{r})
	select {
	case <-done:
	case <-life.Done():
		o.Return = -1
		l.history.Add(block, o)
		l.count("open when the node died")
		return false
	}
	o.Return = l.history.Now()
	l.ended(c, block, o, r)
	return true
}

// ended records what an answer said.
func (l *load) ended(c *client, block int, o history.Op, r *disk.Request) {
	what := r.Op.String()
	if r.Err != nil {
		l.count(fmt.Sprintf("%s failed (%v)", what, r.Err))
		o.Return = -1
	} else if r.Op == disk.Read {
		var err error
		if o.Value, err = history.Value(r.Data); err != nil {
			l.mu.Lock()
			l.broken = errors.Join(l.broken, fmt.Errorf("client %d block %d: %w", o.Client, block, err))
			l.mu.Unlock()
			o.Return = -1
		}
	}
	l.history.Add(block, o)
	if o.Return < 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what]++
	if d := o.Return - o.Call; d > l.longest.lasted {
		l.longest = stall{d, o.Call, fmt.Sprintf("%s of block %d on node %s", what, block, c.node.Name)}
	}
}

// readAll reads every block through a node.
func (l *load) readAll(ctx context.Context, node string, each func(block int, o history.Op)) error {
	ctx, cancel := context.WithTimeout(ctx, endBound)
	defer cancel()
	q, err := nbd.Dial(ctx, nbd.ClientConfig{Network: "unix", Address: l.rig.Node(node).NBD, Export: exportName}, l.log)
	if err != nil {
		return err
	}
	defer func() { _ = q.Close(ctx) }()
	for block := range blocks {
		o := history.Op{Client: int(l.ids.Add(1)), Call: l.history.Now()}
		done := make(chan struct{})
		r := &disk.Request{Op: disk.Read, Off: int64(block) * disk.BlockSize, Len: disk.BlockSize, Data: make([]byte, disk.BlockSize), Done: func(*disk.Request) { close(done) }}
		q.Submit([]*disk.Request{r})
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("read block %d through node %s: %w", block, node, ctx.Err())
		}
		if r.Err != nil {
			return fmt.Errorf("read block %d through node %s: %w", block, node, r.Err)
		}
		if o.Value, err = history.Value(r.Data); err != nil {
			return fmt.Errorf("block %d through node %s: %w", block, node, err)
		}
		o.Return = l.history.Now()
		each(block, o)
	}
	return nil
}

// begin takes what a block holds for its first value.
func (l *load) begin(block int, o history.Op) {
	l.history.Begin(block, o.Value)
	if l.values.Load() < o.Value {
		l.values.Store(o.Value)
	}
}

func (l *load) observe(block int, o history.Op) { l.history.Add(block, o) }

func (l *load) print(out io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprint(out, "operations:")
	printCounts(out, l.counts)
	fmt.Fprintf(out, "longest stall: %.2f s, %s, begun at %.1f s\n", l.longest.lasted.Seconds(), l.longest.what, l.longest.at.Seconds())
}
