package world

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/clock/simclock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/simdisk"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/transport"
)

// diskSize of a simulated node: the smallest that a store takes.
const diskSize = seglog.MinSize

// node is one machine. Its disk and its votes survive a power cut; everything
// else is a life of its process, which gen counts.
type node struct {
	w       *World
	id      ident.Node
	name    string
	clk     *simclock.Clock
	log     *slog.Logger
	disk    *simdisk.Disk
	replica ident.UUID
	slow    time.Duration // what the disk adds to each write
	err     error         // a broken promise
	file    members       // its configuration
	gone    bool          // it does not start: it has burnt, or it lies in a cellar

	gen     int
	known   members // its configuration, as this life has read it
	alive   bool
	frozen  bool
	waiting []func() // what happened while it was frozen
	core    *mirror.Core
	net     transport.Endpoint
	voter   *voter
	saving  *mirror.Save
	user    *user // of the local group; nil while the node is off
}

// newNode makes a machine with a blank store. It belongs to the pair from the genesis on,
// or joins what is voted.
func (w *World) newNode(id ident.Node, name string, replica ident.UUID, joins *cluster.State) *node {
	n := &node{w: w, id: id, name: name, replica: replica, log: w.log.With("node", name)}
	n.clk = w.clk.Skewed(w.between(0, time.Hour), 1+(w.rng.Float64()-0.5)*0.02)
	n.voter = newVoter(n, joins)
	if joins == nil {
		joins = w.genesis()
	}
	n.file = membersOf(joins, id)
	w.cable(n)
	w.machines = append(w.machines, n)
	if n.data() {
		n.disk = simdisk.New(diskSize)
		if err := seglog.Format(n.disk, seglog.Identity{Pair: w.pair, Replica: n.replica}, w.rng.Uint64()); err != nil {
			n.err = fmt.Errorf("format: %w", err)
		}
	}
	return n
}

func (n *node) data() bool { return n.id != witness }

func (n *node) peer() ident.Node { return n.known.twin }

// timing of the simulation: that of the lab profile, with a shorter hold so
// that a run is not mostly waiting.
func timing() mirror.Timing {
	return mirror.Timing{
		Heartbeat: 100 * time.Millisecond, Lease: 400 * time.Millisecond, Grace: 700 * time.Millisecond,
		Shrink: 300 * time.Millisecond, Evict: time.Second, Settle: 200 * time.Millisecond,
		Retry: 250 * time.Millisecond, Hold: 5 * time.Second,
	}
}

// alone tells whether this node leads every group, durably the only one in sync.
func (n *node) alone() bool {
	for _, spec := range n.w.groups {
		if st, ok := n.status(spec.ID); !ok || !st.Serving || len(st.InSync) != 1 {
			return false
		}
	}
	return true
}

// start begins a life: recovery from the disk, then the network.
func (n *node) start() {
	if n.gone {
		return
	}
	n.gen++
	n.alive, n.frozen, n.waiting = true, false, nil
	n.known = n.file
	n.w.note("start "+n.name, uint64(n.gen))
	if err := n.voter.start(); err != nil {
		n.refuse(err)
		return
	}
	if n.data() {
		n.disk.Repair() // a new life gets a disk that works, whatever ended the old one
		l, rec, err := seglog.Open(n.disk, n.w.pair, nil)
		if err == nil {
			cfg := mirror.Config{Self: n.id, Peer: n.peer(), Timing: timing(), SaveEvery: 200}
			n.core, err = mirror.Open(cfg, l, rec, n.clk.Now(), n.log)
		}
		if err != nil {
			n.fail(fmt.Errorf("node %s cannot open its store after a power cut: %w", n.name, err))
			return
		}
	}
	n.net = n.w.net.Start(n.id, handler{n, n.gen}, slices.Concat(n.known.others, n.w.haunts)...)
	if n.data() {
		n.tick()
		n.user = newUser(n)
	}
	n.voter.begin()
}

func (n *node) fail(err error) {
	if n.err == nil {
		n.err = err
	}
}

// crash cuts the power.
func (n *node) crash() {
	n.die("crash")
	if n.data() {
		n.disk.Crash(n.w.rng)
	}
}

// die ends a life, and no more: what the disk was not told to keep is in its cache.
func (n *node) die(how string) {
	n.w.note(how+" "+n.name, uint64(n.gen))
	n.w.swap.noteDeath(n, how)
	n.gen++
	n.alive, n.frozen, n.waiting = false, false, nil
	n.w.net.Crash(n.id)
	n.voter.crash()
	if n.data() {
		if n.saving != nil { // it ends in the middle of a checkpoint
			n.disk.FailAfter(n.w.rng.IntN(5))
			_ = n.saving.Write(n.disk)
			n.disk.Repair()
			n.saving = nil
		}
		n.core, n.user = nil, nil
		for _, c := range n.w.load.clients {
			if c.node == n {
				c.lost()
			}
		}
	}
}

func (n *node) freeze() {
	n.w.note("freeze " + n.name)
	n.frozen = true
	n.w.net.Freeze(n.id)
}

func (n *node) thaw() {
	if !n.frozen {
		return
	}
	n.w.note("thaw " + n.name)
	n.frozen = false
	waiting := n.waiting
	n.waiting = nil
	for _, f := range waiting {
		f()
	}
	n.w.net.Thaw(n.id)
}

func (n *node) ready() bool { return n.alive && !n.frozen && n.core != nil }

// on wraps f so that it runs in this life only, and not while frozen.
func (n *node) on(f func()) func() {
	gen := n.gen
	var g func()
	g = func() {
		switch {
		case gen != n.gen:
		case n.frozen:
			n.waiting = append(n.waiting, g)
		default:
			if n.core != nil {
				n.core.SetNow(n.clk.Now())
			}
			f()
			n.drain()
		}
	}
	return g
}

func (n *node) after(d time.Duration, f func()) { n.w.After(d, n.on(f)) }

func (n *node) tick() {
	n.after(n.w.between(20*time.Millisecond, 40*time.Millisecond), func() {
		n.core.Tick(n.clk.Now())
		for _, s := range n.w.groups {
			st, _ := n.status(s.ID)
			n.w.noteState(st)
		}
		n.tick()
	})
}

func (n *node) submit(g ident.Group, v ident.Volume, r *disk.Request) {
	n.on(func() { n.core.Submit(g, v, 0, []*disk.Request{r}) })()
}

// drain does what the core asks for.
func (n *node) drain() {
	for n.core != nil {
		r := n.core.Take()
		if r.Write == nil && len(r.Reads)+len(r.Sends)+len(r.Proposals)+len(r.Done) == 0 && r.Save == nil {
			return
		}
		if wr := r.Write; wr != nil {
			n.writeFrame(wr)
		}
		for _, rd := range r.Reads {
			n.after(n.w.between(20*time.Microsecond, 2*time.Millisecond), func() {
				_, rd.Err = n.disk.ReadAt(rd.Buf, int64(rd.Loc)*disk.BlockSize)
				rd.Check()
				n.core.ReadDone(rd)
			})
		}
		for _, s := range r.Sends {
			// The wire has its own copy: the core may reuse what it sent.
			parts := make([][]byte, len(s.Parts))
			for i, p := range s.Parts {
				parts[i] = append([]byte(nil), p...)
			}
			n.net.Send(n.peer(), s.Session, parts...)
		}
		for _, p := range r.Proposals {
			n.voter.propose(p)
		}
		if r.Save != nil {
			n.saveState(r.Save)
		}
		disk.Finish(r.Done...)
	}
}

// writeFrame writes and syncs in two steps, so that power can go between them.
func (n *node) writeFrame(wr *seglog.Write) {
	n.after(n.w.between(10*time.Microsecond, 300*time.Microsecond), func() {
		_, err := n.disk.WriteAt(wr.Buf, wr.Off)
		n.after(n.w.between(50*time.Microsecond, 2*time.Millisecond)+n.slow, func() {
			if err == nil {
				err = n.disk.Sync()
			}
			n.core.FrameDone(wr, err)
		})
	})
}

func (n *node) saveState(s *mirror.Save) {
	n.saving = s
	n.after(n.w.between(time.Millisecond, 20*time.Millisecond), func() {
		n.saving = nil
		n.w.count.States["checkpoint"]++
		n.core.SaveDone(s, s.Write(n.disk))
	})
}

// learn hands a state of the vote to the core.
func (n *node) learn(specs []mirror.GroupSpec, next ident.Group) {
	if n.core != nil {
		n.core.Configure(specs, next)
	}
}

func (n *node) status(g ident.Group) (mirror.GroupStatus, bool) {
	if n.core == nil {
		return mirror.GroupStatus{}, false
	}
	return n.core.Status(g)
}

func (n *node) mode() string {
	switch {
	case !n.alive:
		return "down"
	case n.frozen:
		return "frozen"
	default:
		return "running"
	}
}

func (n *node) leader() string { return n.voter.describe() }

// handler feeds what arrives to one life of a node. The network already stops a
// frozen node's deliveries.
type handler struct {
	n   *node
	gen int
}

func (h handler) do(f func()) {
	if h.gen == h.n.gen {
		h.n.on(f)()
	}
}

func (h handler) Control(from ident.Node, msg []byte) {
	h.do(func() { h.n.voter.receive(from, msg) })
}

// twins hands on what comes from the twin's data link: a node's configuration has no
// other.
func (h handler) twins(from ident.Node, f func()) {
	if from == h.n.peer() {
		h.do(f)
	}
}

func (h handler) SessionUp(from ident.Node, session uint64, path string) {
	h.twins(from, func() {
		h.n.w.note("session up "+h.n.name+" "+path, session)
		if h.n.core != nil {
			h.n.core.SessionUp(session)
		}
	})
}

func (h handler) Data(from ident.Node, session uint64, msg []byte) {
	h.twins(from, func() {
		h.n.w.note("data "+h.n.name, session, uint64(len(msg)), uint64(msg[0]))
		if h.n.core != nil {
			h.n.core.Receive(session, append([]byte(nil), msg...))
		}
	})
}

func (h handler) SessionDown(from ident.Node, session uint64, _ error) {
	h.twins(from, func() {
		h.n.w.note("session down "+h.n.name, session)
		if h.n.core != nil {
			h.n.core.SessionDown(session)
		}
	})
}

var _ clock.Clock = (*simclock.Clock)(nil)
