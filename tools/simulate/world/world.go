// Package world is a whole cluster in one thread: two nodes and a witness with
// the real code of store, mirror and vote, on simulated disks, network and
// clocks, driven from one seed.
//
// A node may be lost for ever and another machine take its place (decision 13): from
// then on the world has more machines than places, and the lost one may run on or come
// back, to harm nobody.
//
// A World owns the time. Everything that happens is an event in its queue; what
// it drew from its random source is all that differs between two runs. The
// trace hash covers every event that reached a node, so that one seed run twice
// must give one hash.
package world

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/clock/simclock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/transport/simnet"
)

// Options say how long and how hard a run is.
type Options struct {
	Seed    uint64
	Ops     int // client requests to issue at least
	Faults  int // faults to inject at least
	Verbose io.Writer
}

// World is one run.
type World struct {
	opt       Options
	rng       *rand.Rand
	clk       *simclock.Clock
	events    events
	serial    uint64
	trace     hash.Hash64
	log       *slog.Logger
	net       *simnet.Net
	fast      simnet.Link // a fibre
	pair      ident.UUID
	nodes     [3]*node // a, b, witness: whoever has that place now
	machines  []*node  // all that there ever were
	replicas  [3]ident.UUID
	confs     map[confKey]seenConf
	groups    []mirror.GroupSpec
	load      *load
	swap      *replacement // the one that is going on
	newcomers ident.Node   // how many there were: each has a number that never voted
	haunts    []ident.Node // lost nodes whose votes are let through, as if keys were nothing
	acked     uint64       // the highest number that a user of the local group was told to be durable
	count     Counts
	faults    faultState
}

// Counts is what happened in a run, by kind.
type Counts struct {
	Ops, Acked, Unknown int
	Faults              map[string]int
	States              map[string]int
	Primaries           int // changes of a group's primary
	Events              int
	SimTime             time.Duration
}

type event struct {
	at     clock.Instant
	serial uint64
	f      func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return x
}

// After runs f once, d from now.
func (w *World) After(d time.Duration, f func()) {
	w.serial++
	heap.Push(&w.events, event{w.clk.Now().Add(max(d, 0)), w.serial, f})
}

// step runs the next event; false when none is left.
func (w *World) step() bool {
	if len(w.events) == 0 {
		return false
	}
	e := heap.Pop(&w.events).(event)
	w.clk.Set(e.at)
	w.count.Events++
	e.f()
	return true
}

// note adds to the trace hash.
func (w *World) note(kind string, values ...uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(w.clk.Now()))
	_, _ = w.trace.Write(b[:])
	_, _ = io.WriteString(w.trace, kind)
	for _, v := range values {
		binary.LittleEndian.PutUint64(b[:], v)
		_, _ = w.trace.Write(b[:])
	}
	if w.opt.Verbose != nil {
		fmt.Fprintf(w.opt.Verbose, "%12.6f %s %v\n", float64(w.clk.Now())/1e9, kind, values)
	}
}

// between draws a duration.
func (w *World) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}

// uuid draws an identity from the seed.
func (w *World) uuid() (u ident.UUID) {
	binary.LittleEndian.PutUint64(u[:], w.rng.Uint64())
	binary.LittleEndian.PutUint64(u[8:], w.rng.Uint64())
	return u
}

const (
	blockNodeA = ident.Node(0xa)
	blockNodeB = ident.Node(0xb)
	witness    = ident.Node(0xc)
)

// New builds a cluster that has never run.
func New(opt Options) *World {
	w := &World{
		opt: opt, rng: rand.New(rand.NewPCG(opt.Seed, 0x5eed)), clk: simclock.New(time.Unix(1_800_000_000, 0)), trace: fnv.New64a(),
		log: slog.New(slog.DiscardHandler),
	}
	w.count = newCounts()
	if opt.Verbose != nil {
		w.log = slog.New(slog.NewTextHandler(opt.Verbose, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w.pair = w.uuid()
	w.net = simnet.New(w.rng, w)
	w.fast = simnet.Link{Delay: w.between(20*time.Microsecond, 500*time.Microsecond), Jitter: 200 * time.Microsecond}
	for i := range w.replicas {
		w.replicas[i] = w.uuid()
	}
	w.groups = specs(w.genesis())
	w.confs = map[confKey]seenConf{}
	for i, id := range []ident.Node{blockNodeA, blockNodeB, witness} {
		w.nodes[i] = w.newNode(id, "abw"[i:i+1], w.replicas[i], nil)
	}
	w.load = newLoad(w)
	return w
}

var lan = simnet.Link{Delay: time.Millisecond, Jitter: 2 * time.Millisecond, Loss: 0.01, Duplicate: 0.01}

// cable joins a machine to all others by the topology of the design: two fibres between
// nodes, a lan between all.
func (w *World) cable(n *node) {
	for _, o := range w.machines {
		for _, name := range paths(o, n) {
			if name == "lan" {
				w.net.Join(o.id, n.id, name, false, lan)
			} else {
				w.net.Join(o.id, n.id, name, true, w.fast)
			}
		}
	}
}

// paths are those between two machines.
func paths(a, b *node) []string {
	if a.data() && b.data() {
		return []string{"fibre1", "fibre2", "lan"}
	}
	return []string{"lan"}
}

// Run drives the cluster through load and faults, then heals everything and
// checks what must hold. The error names the first broken promise.
func (w *World) Run() (Counts, uint64, error) {
	for _, n := range w.nodes {
		n.start()
	}
	w.load.begin()
	w.nextFault()
	limit := w.clk.Now().Add(10 * time.Minute)
	for !w.done() {
		if !w.step() || w.clk.Now() > limit {
			return w.finish(fmt.Errorf("the run did not reach %d requests and %d faults in 10 minutes", w.opt.Ops, w.opt.Faults))
		}
		if err := w.broken(); err != nil {
			return w.finish(err)
		}
	}
	w.healAll()
	if err := w.settle("after everything was healed"); err != nil {
		return w.finish(err)
	}
	return w.finish(w.checkEnd())
}

func (w *World) finish(err error) (Counts, uint64, error) {
	w.count.SimTime = time.Duration(w.clk.Now())
	for _, n := range w.machines {
		if n.err != nil && err == nil {
			err = n.err
		}
	}
	return w.count, w.trace.Sum64(), err
}

func (w *World) done() bool {
	total := 0
	for _, n := range w.count.Faults {
		total += n
	}
	return w.load.issued >= w.opt.Ops && total >= w.opt.Faults && w.count.Primaries >= 1 && w.swap == nil
}

// broken is the first failure that a node reported.
func (w *World) broken() error {
	for _, n := range w.machines {
		if n.err != nil {
			return n.err
		}
	}
	return nil
}

// settle runs until both nodes hold everything and every request was answered.
func (w *World) settle(when string) error {
	limit := w.clk.Now().Add(2 * time.Minute)
	w.load.stop()
	for !w.settled() {
		if !w.step() || w.clk.Now() > limit {
			return fmt.Errorf("%s the cluster did not come to rest in 2 minutes: %s", when, w.describe())
		}
		if err := w.broken(); err != nil {
			return err
		}
		w.restartFailed()
	}
	return nil
}

// restartFailed starts who finds only now that its disk has failed, as init does.
func (w *World) restartFailed() {
	for _, n := range w.nodes[:2] {
		if n.core != nil && n.core.Failed() != nil {
			n.crash()
			n.start()
		}
	}
}

func (w *World) settled() bool {
	if w.swap != nil {
		return false
	}
	for _, spec := range w.groups {
		a, okA := w.nodes[0].status(spec.ID)
		b, okB := w.nodes[1].status(spec.ID)
		if !okA || !okB || a.Epoch != b.Epoch || len(a.InSync) != 2 || !a.Serving && !b.Serving ||
			a.Watermark != b.Watermark || a.Last != b.Last || a.Last != a.Watermark {
			return false
		}
	}
	for _, n := range w.nodes[:2] {
		if n.user != nil && n.user.busy {
			return false
		}
	}
	return w.load.quiet()
}

func (w *World) describe() string {
	s := ""
	for _, n := range w.nodes[:2] {
		for _, spec := range w.groups {
			st, _ := n.status(spec.ID)
			s += fmt.Sprintf("\n  %s group %d: %+v", n.name, spec.ID, st)
			if st.Resync != nil {
				s += fmt.Sprintf(" resync %+v", *st.Resync)
			}
		}
		s += fmt.Sprintf("\n  %s leader %v state %v", n.name, n.leader(), n.mode())
	}
	return s + "\n  " + w.load.describe()
}
