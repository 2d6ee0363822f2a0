package world

import (
	"slices"
	"time"

	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
)

type faultState struct{ stopped bool }

// fault is one kind of trouble: how likely, what it does, and what mends it.
type fault struct {
	name   string
	weight int
	strike func(w *World) (mend func(), ok bool)
}

var faults = []fault{
	{"power cut of a node", 14, func(w *World) (func(), bool) { return w.cutPower(w.nodes[w.rng.IntN(2)]) }},
	{"power cut of the serving node", 14, func(w *World) (func(), bool) { return w.cutPower(w.serving()) }},
	{"power cut of both nodes", 6, (*World).cutBoth},
	{"power cut of both over a slow disk", 8, (*World).cutOverSlowDisk},
	{"power cut of the witness", 8, func(w *World) (func(), bool) { return w.cutPower(w.nodes[2]) }},
	{"freeze of the serving node", 10, func(w *World) (func(), bool) { return w.freezeNode(w.serving()) }},
	{"freeze of a node", 6, func(w *World) (func(), bool) { return w.freezeNode(w.nodes[w.rng.IntN(3)]) }},
	{"both fibres cut", 10, func(w *World) (func(), bool) { return w.cutPaths(both, "fibre1", "fibre2") }},
	{"one fibre cut", 4, func(w *World) (func(), bool) { return w.cutPaths(both, "fibre1") }},
	{"fibres cut one way", 8, func(w *World) (func(), bool) { return w.cutPaths(oneWay, "fibre1", "fibre2") }},
	{"all paths between the nodes cut", 6, func(w *World) (func(), bool) { return w.cutPaths(both, "fibre1", "fibre2", "lan") }},
	{"a node off the lan", 8, (*World).cutLan},
	{"slow disk", 4, (*World).slowDisk},
	{"planned switch", 12, (*World).planSwitch},
	{"failed sync", 4, (*World).failDisk},
	{"full copy that is cut", 5, (*World).fullCopy},
	{"switch there and back past a user", 6, (*World).thereAndBack},
	{"kill of a node's services", 6, (*World).killServices},
	{"a node is lost and replaced", 14, (*World).loseNode},
}

// nextFault strikes one fault after a while and plans the next.
func (w *World) nextFault() {
	w.After(w.between(200*time.Millisecond, 2500*time.Millisecond), func() {
		if w.faults.stopped {
			return
		}
		total := 0
		for _, f := range faults {
			total += f.weight
		}
		pick := w.rng.IntN(total)
		for _, f := range faults {
			if pick -= f.weight; pick < 0 {
				w.strike(f)
				break
			}
		}
		w.nextFault()
	})
}

func (w *World) strike(f fault) {
	mend, ok := f.strike(w)
	if !ok {
		return
	}
	w.note("fault " + f.name)
	w.count.Faults[f.name]++
	if mend != nil {
		w.mendAfter(w.between(50*time.Millisecond, 4*time.Second), mend)
	}
}

// mendAfter mends a fault later, unless everything was healed by then.
func (w *World) mendAfter(d time.Duration, mend func()) {
	w.After(d, func() {
		if !w.faults.stopped {
			mend()
		}
	})
}

// serving is the node that leads the first group, as the nodes believe.
func (w *World) serving() *node {
	for _, n := range w.nodes[:2] {
		if s, ok := n.status(w.groups[0].ID); ok && s.Serving {
			return n
		}
	}
	return w.nodes[w.rng.IntN(2)]
}

func (w *World) cutPower(n *node) (func(), bool) {
	if !n.alive {
		return nil, false
	}
	n.crash()
	return func() {
		if !n.alive {
			n.start()
		}
	}, true
}

// killServices ends a node's processes, not its power: its disk keeps its cache.
func (w *World) killServices() (func(), bool) {
	n := w.nodes[w.rng.IntN(2)]
	if !n.alive {
		return nil, false
	}
	n.die("kill")
	return func() {
		if !n.alive {
			n.start()
		}
	}, true
}

func (w *World) cutBoth() (func(), bool) {
	a, b := w.nodes[0], w.nodes[1]
	if w.rng.IntN(2) == 0 {
		a, b = b, a
	}
	first, ok := w.cutPower(a)
	if !ok {
		return nil, false
	}
	second, ok := w.cutPower(b)
	if ok {
		w.mendAfter(w.between(0, 6*time.Second), second) // they return in any order
	}
	return first, true
}

func (w *World) freezeNode(n *node) (func(), bool) {
	if !n.alive || n.frozen {
		return nil, false
	}
	n.freeze()
	gen := n.gen
	return func() {
		if n.gen == gen {
			n.thaw()
		}
	}, true
}

type direction int

const (
	both direction = iota
	oneWay
)

func (w *World) cutPaths(d direction, names ...string) (func(), bool) {
	from, to := w.nodes[0].id, w.nodes[1].id
	if w.rng.IntN(2) == 0 {
		from, to = to, from
	}
	for _, name := range names {
		w.net.Cut(from, to, name)
		if d == both {
			w.net.Cut(to, from, name)
		}
	}
	return func() {
		for _, name := range names {
			w.net.Heal(from, to, name)
			w.net.Heal(to, from, name)
		}
	}, true
}

func (w *World) cutLan() (func(), bool) {
	return w.isolate(w.nodes[w.rng.IntN(3)], "lan"), true
}

// isolate cuts the paths of these names between a machine and all others, and returns
// what heals them.
func (w *World) isolate(n *node, names ...string) (heal func()) {
	each := func(f func(a, b ident.Node, name string)) {
		for _, o := range w.machines {
			for _, name := range names {
				if o != n && slices.Contains(paths(n, o), name) {
					f(n.id, o.id, name)
					f(o.id, n.id, name)
				}
			}
		}
	}
	each(w.net.Cut)
	return func() { each(w.net.Heal) }
}

// cutOverSlowDisk slows the disk of the node that follows, so that much of what it was
// sent is not durable there, and cuts the power of both: whatever was acknowledged must be
// there although the follower is back first. Its services may have been killed before
// that: then they have read what lay in the disk's cache.
func (w *World) cutOverSlowDisk() (func(), bool) {
	leads, follows := w.nodes[0], w.nodes[1]
	if w.serving() == follows {
		leads, follows = follows, leads
	}
	if !leads.ready() || !follows.ready() {
		return nil, false
	}
	follows.slow = w.between(50*time.Millisecond, 300*time.Millisecond)
	w.mendAfter(w.between(50*time.Millisecond, 500*time.Millisecond), func() {
		if w.rng.IntN(3) == 0 && follows.ready() {
			follows.die("kill")
			follows.start()
			w.mendAfter(w.between(50*time.Millisecond, 300*time.Millisecond), func() { w.cutBothOver(leads, follows) })
			return
		}
		w.cutBothOver(leads, follows)
	})
	return nil, true
}

// cutBothOver cuts the power of both while the disk of one is slow.
func (w *World) cutBothOver(leads, follows *node) {
	follows.slow = 0
	for _, n := range []*node{leads, follows} {
		back, ok := w.cutPower(n)
		switch {
		case !ok: // another fault has it
		case n == follows:
			w.mendAfter(w.between(0, time.Second), back)
		default:
			w.mendAfter(w.between(2*time.Second, 6*time.Second), back)
		}
	}
}

func (w *World) slowDisk() (func(), bool) {
	n := w.nodes[w.rng.IntN(2)]
	n.slow = w.between(5*time.Millisecond, 300*time.Millisecond)
	return func() { n.slow = 0 }, true
}

func (w *World) planSwitch() (func(), bool) {
	n := w.serving()
	if !n.ready() {
		return nil, false
	}
	var err error
	n.on(func() { err = n.core.SwitchTo(w.groups[w.rng.IntN(len(w.groups))].ID, n.peer()) })()
	return nil, err == nil
}

// fullCopy cuts a node's power until its twin has gone on alone everywhere, has the twin
// copy everything to it, and cuts the power of one of them while it copies.
func (w *World) fullCopy() (func(), bool) {
	i := w.rng.IntN(2)
	lost, source := w.nodes[i], w.nodes[1-i]
	if !source.ready() {
		return nil, false
	}
	mend, ok := w.cutPower(lost)
	if !ok {
		return nil, false
	}
	limit := w.clk.Now().Add(4 * time.Second)
	var watch func()
	watch = func() {
		switch {
		case w.faults.stopped || lost.alive: // healed, or started by another fault
		case source.alone():
			for _, spec := range w.groups {
				source.core.DistrustPeer(spec.ID)
			}
			mend()
			w.cutWhileCopying(source, w.nodes[w.rng.IntN(2)], limit.Add(4*time.Second))
		case w.clk.Now() > limit:
			mend()
		default:
			w.After(20*time.Millisecond, watch)
		}
	}
	watch()
	return nil, true
}

// cutWhileCopying cuts the power of a node for a while, in the middle of a resync from a
// source.
func (w *World) cutWhileCopying(source, victim *node, limit clock.Instant) {
	if w.faults.stopped || !source.alive || w.clk.Now() > limit {
		return
	}
	for _, spec := range w.groups {
		if st, ok := source.status(spec.ID); ok && st.Resync != nil && st.Resync.Running && st.Resync.Dirty > 0 {
			if back, ok := w.cutPower(victim); ok {
				what := "target cut while it was copied to"
				if victim == source {
					what = "source cut while it copied"
				}
				w.count.States[what]++
				w.mendAfter(w.between(50*time.Millisecond, 2*time.Second), back)
			}
			return
		}
	}
	w.After(w.between(time.Millisecond, 10*time.Millisecond), func() { w.cutWhileCopying(source, victim, limit) })
}

// thereAndBack hands the local group over and gets it back, while the user here sleeps.
func (w *World) thereAndBack() (func(), bool) {
	for i, n := range w.nodes[:2] {
		st, ok := n.status(localGroup)
		if !ok || !st.Serving || !n.ready() || n.user.asleep {
			continue
		}
		u, twin := n.user, w.nodes[1-i]
		var err error
		n.on(func() { err = n.core.SwitchTo(localGroup, n.peer()) })()
		u.asleep = err == nil
		return func() {
			if twin.ready() {
				// What stands in the way of it now is another fault.
				twin.on(func() { _ = twin.core.SwitchTo(localGroup, n.id) })()
			}
			w.After(w.between(time.Second, 3*time.Second), func() { u.asleep = false })
		}, err == nil
	}
	return nil, false
}

// failDisk makes a disk fail at one of its next operations. The node is then
// power-cycled with a mended disk.
func (w *World) failDisk() (func(), bool) {
	n := w.nodes[w.rng.IntN(2)]
	if !n.ready() {
		return nil, false
	}
	n.disk.FailAfter(w.rng.IntN(6))
	return func() {
		if n.alive {
			n.crash()
		}
		n.disk.Repair()
		n.start()
	}, true
}

// healAll ends every fault and starts whoever is down.
func (w *World) healAll() {
	w.faults.stopped = true
	for _, a := range w.machines {
		for _, b := range w.machines {
			if a == b {
				continue
			}
			for _, name := range paths(a, b) {
				w.net.Heal(a.id, b.id, name)
			}
		}
	}
	for _, n := range w.machines {
		n.thaw()
	}
	for _, n := range w.nodes {
		n.slow = 0
		if n.data() {
			if n.core != nil && n.core.Failed() != nil {
				n.crash()
			}
			n.disk.Repair()
		}
		if !n.alive {
			n.start()
		}
	}
}

// noteState counts in which states the cluster was seen.
func (w *World) noteState(s mirror.GroupStatus) {
	switch {
	case !s.Serving:
	case len(s.InSync) == 2:
		w.count.States["mirrored"]++
	case s.Resync != nil && s.Resync.Running:
		w.count.States["resync"]++
	default:
		w.count.States["solo"]++
	}
}

// FaultNames lists every kind of fault.
func FaultNames() []string {
	names := make([]string, len(faults))
	for i, f := range faults {
		names[i] = f.name
	}
	return names
}
