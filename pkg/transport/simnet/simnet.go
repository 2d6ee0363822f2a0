package simnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/transport"
)

// Scheduler runs f once, d from now, on the simulation's one thread. Functions
// due at the same instant run in the order they were handed over.
type Scheduler interface {
	After(d time.Duration, f func())
}

// Link is how one direction of a path behaves.
type Link struct {
	Delay     time.Duration // always
	Jitter    time.Duration // up to this much more
	Loss      float64       // share of control messages lost, 0 to 1
	Duplicate float64       // share of control messages that arrive twice
}

// Timing is what the ends wait for.
type Timing struct {
	Dead   time.Duration // a direction cut for this long kills the path
	Detect time.Duration // each end notices up to this much later
	Open   time.Duration // from a live data path to a session, up to twice this
}

// DefaultTiming matches transport.DefaultTiming.
func DefaultTiming() Timing {
	return Timing{Dead: 400 * time.Millisecond, Detect: 100 * time.Millisecond, Open: 20 * time.Millisecond}
}

var (
	errDead     = errors.New("no answer to pings")
	errReplaced = errors.New("replaced by a new session")
	errReset    = errors.New("connection reset by peer")
)

// Net is the simulated network.
type Net struct {
	Timing Timing // may be set before the first Start

	rng   *rand.Rand
	sched Scheduler
	paths []*path // in the order they were made: the order of preference
	ends  map[ident.Node]*Endpoint
	order []ident.Node        // every node ever started, in order
	shown map[ident.Node]bool // nodes that the others believe to be alive
}

// New makes a network without paths.
func New(rng *rand.Rand, sched Scheduler) *Net {
	return &Net{Timing: DefaultTiming(), rng: rng, sched: sched, ends: map[ident.Node]*Endpoint{}, shown: map[ident.Node]bool{}}
}

// path is one named way between two nodes; a is the lower identity.
type path struct {
	name string
	data bool
	a, b ident.Node
	ways [2]way // 0: a to b
	dead bool
}

// way is one direction of a path.
type way struct {
	link Link
	cut  bool
	turn uint64 // counts cuts and heals, so that an old deadline knows it is void
}

// Join adds a path between two nodes, equal in both directions. Paths are
// preferred in the order they were added; data says whether it may carry sessions.
func (n *Net) Join(a, b ident.Node, name string, data bool, l Link) {
	if a > b {
		a, b = b, a
	}
	n.paths = append(n.paths, &path{name: name, data: data, a: a, b: b, ways: [2]way{{link: l}, {link: l}}})
}

// Shape changes one direction of a path.
func (n *Net) Shape(from, to ident.Node, name string, l Link) {
	_, w := n.find(from, to, name)
	w.link = l
}

// Cut silences one direction of a path.
func (n *Net) Cut(from, to ident.Node, name string) {
	p, w := n.find(from, to, name)
	if w.cut {
		return
	}
	w.cut = true
	w.turn++
	turn := w.turn
	n.sched.After(n.Timing.Dead, func() {
		if w.turn == turn && !p.dead {
			p.dead = true
			n.kill(p)
		}
	})
}

// Heal mends one direction of a path.
func (n *Net) Heal(from, to ident.Node, name string) {
	p, w := n.find(from, to, name)
	if !w.cut {
		return
	}
	w.cut = false
	w.turn++
	if p.ways[0].cut || p.ways[1].cut {
		return
	}
	p.dead = false
	n.release(p)
	n.open(p.a, p.b)
}

// Up reports whether a path has round trips, as the ends will see it.
func (n *Net) Up(a, b ident.Node, name string) bool {
	p, _ := n.find(a, b, name)
	return !p.dead && n.shown[a] && n.shown[b]
}

func (n *Net) find(from, to ident.Node, name string) (*path, *way) {
	for _, p := range n.paths {
		if p.name != name {
			continue
		}
		if p.a == from && p.b == to {
			return p, &p.ways[0]
		}
		if p.b == from && p.a == to {
			return p, &p.ways[1]
		}
	}
	panic(fmt.Sprintf("simnet: no path %s between %v and %v", name, from, to))
}

func (p *path) way(from ident.Node) *way {
	if from == p.a {
		return &p.ways[0]
	}
	return &p.ways[1]
}

func (p *path) joins(a, b ident.Node) bool { return p.a == a && p.b == b || p.a == b && p.b == a }

// Start gives a node its endpoint; after Crash, a new one. With members named, it knows
// these alone for its life, as one that has their keys: nothing passes between it and
// anybody else.
func (n *Net) Start(self ident.Node, h transport.Handler, members ...ident.Node) *Endpoint {
	if n.ends[self] != nil {
		panic(fmt.Sprintf("simnet: node %v started twice", self))
	}
	e := &Endpoint{net: n, self: self, handler: h, members: members, peers: map[ident.Node]*half{}}
	n.ends[self] = e
	n.show(e)
	known := false
	for _, id := range n.order {
		known = known || id == self
	}
	if !known {
		n.order = append(n.order, self)
	}
	for _, id := range n.order {
		other := n.ends[id]
		if other == nil || id == self {
			continue
		}
		// The restarted node answers packets of its former life with a reset.
		if old := other.peers[self]; old != nil {
			n.sched.After(n.between(0, n.Timing.Open), func() { other.down(self, old, errReset) })
		}
		n.open(self, id)
	}
	return e
}

// Crash makes a node vanish: it is told nothing more, and the others notice by
// the silence.
func (n *Net) Crash(self ident.Node) {
	e := n.ends[self]
	if e == nil {
		return
	}
	delete(n.ends, self)
	e.gone = true
	n.hide(e)
	n.silence(self)
}

// Freeze stops a node's deliveries, as a stopped process or a paused machine.
// Its peers notice; what arrives for it waits until Thaw.
func (n *Net) Freeze(self ident.Node) {
	e := n.ends[self]
	if e == nil || e.frozen {
		return
	}
	e.frozen = true
	e.freezes++
	was := e.freezes
	n.hide(e)
	for _, id := range n.order {
		if other := n.ends[id]; other != nil && id != self {
			h := other.peers[self]
			n.sched.After(n.Timing.Dead+n.detect(), func() {
				if h != nil && e.frozen && e.freezes == was {
					other.down(self, h, errDead)
				}
			})
		}
	}
}

// Thaw delivers what waited, in order, before anything else arrives.
func (n *Net) Thaw(self ident.Node) {
	e := n.ends[self]
	if e == nil || !e.frozen {
		return
	}
	e.frozen = false
	n.show(e)
	for len(e.backlog) > 0 && !e.frozen && !e.gone {
		f := e.backlog[0]
		e.backlog = e.backlog[1:]
		f()
	}
	for _, id := range n.order {
		if id != self {
			n.open(self, id)
		}
	}
}

// show and hide let the others' view of a node follow its state, late.
func (n *Net) show(e *Endpoint) {
	n.sched.After(n.Timing.Open, func() {
		if n.ends[e.self] == e && !e.frozen {
			n.shown[e.self] = true
		}
	})
}

func (n *Net) hide(e *Endpoint) {
	n.sched.After(n.Timing.Dead, func() {
		if cur := n.ends[e.self]; cur == nil || cur == e && e.frozen {
			n.shown[e.self] = false
		}
	})
}

// silence ends, after the dead time, the sessions with a node that crashed.
func (n *Net) silence(self ident.Node) {
	for _, id := range n.order {
		other := n.ends[id]
		if other == nil || other.peers[self] == nil {
			continue
		}
		h := other.peers[self]
		n.sched.After(n.Timing.Dead+n.detect(), func() { other.down(self, h, errDead) })
	}
}

// kill ends the sessions over a dead path, each end at its own moment.
func (n *Net) kill(p *path) {
	for _, pair := range [2][2]ident.Node{{p.a, p.b}, {p.b, p.a}} {
		e := n.ends[pair[0]]
		if e == nil {
			continue
		}
		if h := e.peers[pair[1]]; h != nil && h.path == p {
			n.sched.After(n.detect(), func() { e.down(pair[1], h, errDead) })
		}
	}
}

func (n *Net) detect() time.Duration { return n.between(0, n.Timing.Detect) }

func (n *Net) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(n.rng.Int64N(int64(high-low)))
}
