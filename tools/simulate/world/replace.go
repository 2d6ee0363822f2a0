package world

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// members is what a node's configuration says of the others. It follows the vote
// (decision 13), and counts from the next start of the services on.
type members struct {
	others  []ident.Node // it knows the keys of these alone
	twin    ident.Node   // of a data node
	replica ident.UUID   // the twin's
}

func membersOf(s *cluster.State, self ident.Node) members {
	var m members
	for _, id := range s.Voters() {
		if id == self {
			continue
		}
		m.others = append(m.others, id)
		if n := s.Nodes[id]; n.Kind == cluster.KindNode {
			m.twin, m.replica = id, n.Replica
		}
	}
	return m
}

// follow makes the configuration follow who is voted, and starts the services anew a
// little later: until then they know the lost node, and not the new one.
func (n *node) follow(s *cluster.State) {
	next := membersOf(s, n.id)
	if _, member := s.Nodes[n.id]; !member || slices.Equal(next.others, n.file.others) {
		return
	}
	n.w.note("follow "+n.name, uint64(s.Index))
	n.file = next
	n.after(n.w.between(0, time.Second), func() {
		n.die(restarts)
		n.start()
	})
}

// restarts is how services end that begin anew at once, in order.
const restarts = "restart"

// refuse takes a life that cannot begin. Only a lost machine has a right to that: it may
// have learnt that it is no member any more, and that before its twin has.
func (n *node) refuse(cause error) {
	n.alive = false
	if slices.Contains(n.w.nodes[:], n) && (n.w.swap == nil || n != n.w.swap.lost) {
		n.fail(fmt.Errorf("voter %s does not start: %w", n.name, cause))
		return
	}
	n.w.count.States["replace: the lost machine knows that it is no member"]++
}

// replacement is one node that is lost, and what people do about it at its twin: they ask
// for another machine in its place, at once and again, until the vote takes one or the
// lost node is back.
//
// What was acknowledged may lie on the lost machine alone. The rules refuse then, and the
// world has to be honest: so it is decided only by the vote whether the machine has
// burnt. As long as nobody has taken its place it was just off, or out of reach.
type replacement struct {
	w        *World
	lost     *node
	survivor *node
	heal     func()        // of a machine that was cut off and runs on; nil: its power was cut
	burns    bool          // nobody sees it again; else it comes back with its old disk, votes and key
	until    clock.Instant // then it is back anyway, if nobody has its place
	do       cluster.ReplaceNode
	asked    bool // the vote was asked, and only the vote knows whether it is decided
	askedAt  clock.Instant
	fresh    *node // who has taken the place
}

// loseNode takes a node away for ever, if the rules allow it.
func (w *World) loseNode() (func(), bool) {
	i := w.rng.IntN(2)
	r := &replacement{w: w, lost: w.nodes[i], survivor: w.nodes[1-i], until: w.clk.Now().Add(w.between(500*time.Millisecond, 8*time.Second))}
	if w.swap != nil || !r.lost.alive {
		return nil, false
	}
	switch k := w.rng.IntN(10); {
	case k < 3:
		r.heal = w.isolate(r.lost, "fibre1", "fibre2", "lan")
	case k < 6:
		r.burns = true
		fallthrough
	default:
		r.lost.crash()
	}
	if !r.burns && w.rng.IntN(2) == 0 { // it votes on, as if keys were nothing
		w.haunts = append(w.haunts, r.lost.id)
	}
	w.swap = r
	w.After(w.between(0, 2*time.Second), r.turn)
	return nil, true
}

// heard tells whether anybody can hear the lost machine.
func (r *replacement) heard() bool { return r.lost.alive && r.heal == nil }

// comeBack switches the lost machine on, or lets it be heard again.
func (r *replacement) comeBack() {
	r.lost.gone = false
	if r.heal != nil {
		r.heal()
		r.heal = nil
	}
	if !r.lost.alive {
		r.lost.start()
	}
}

// turn goes on with a replacement, as far as it can go on now.
func (r *replacement) turn() {
	w := r.w
	if (w.clk.Now() > r.until || w.faults.stopped) && !r.heard() {
		r.comeBack()
	}
	if r.survivor.ready() {
		st := r.survivor.voter.v.State()
		_, done := st.Nodes[r.do.Node]
		switch {
		case done:
			r.voted(st)
			return
		case !r.asked && r.heard(): // nobody is replaced who is
			w.count.States["replace: the lost node is back"]++
			w.swap = nil
			return
		case !r.asked || w.clk.Now().Sub(r.askedAt) > time.Second:
			r.ask(st)
		}
	}
	w.After(w.between(20*time.Millisecond, 200*time.Millisecond), r.turn)
}

// ask proposes a machine, the same again while it is not known what became of it. What
// was refused is asked with another machine: the refused one has forgotten all.
func (r *replacement) ask(st *cluster.State) {
	w := r.w
	if r.asked {
		w.count.States["replace: asked again"]++
	} else {
		w.newcomers++
		r.do = cluster.ReplaceNode{
			Old: membersOf(st, r.survivor.id).twin, Node: witness + w.newcomers, PublicKey: make([]byte, 32), Replica: w.uuid(),
		}
		r.do.PublicKey[0] = byte(r.do.Node)
	}
	r.asked, r.askedAt = true, w.clk.Now()
	do, v := r.do, r.survivor.voter
	w.note("replace", uint64(do.Old), uint64(do.Node))
	v.ask(v.newID(), &do, func(res cluster.Result) {
		if res.Refused != "" && do.Node == r.do.Node {
			w.count.States["replace: refused"]++
			r.asked = false
		}
	})
}

// voted carries the new machine in. It begins when it was told, with an empty log and
// a blank store.
func (r *replacement) voted(st *cluster.State) {
	w := r.w
	w.count.States["replace: voted"]++
	r.fresh = w.newNode(r.do.Node, r.lost.name+"'", r.do.Replica, cluster.New(w.pair, maps.Clone(st.Nodes)))
	w.nodes[slices.Index(w.nodes[:], r.lost)] = r.fresh
	w.load.move(r.lost, r.fresh)
	switch {
	case r.heard():
		w.count.States["replace: voted while the lost machine is heard"]++
	case r.burns:
		r.lost.gone = true
	default:
		if r.lost.alive {
			w.count.States["replace: voted while the lost machine runs on unheard"]++
		}
		r.lost.gone = !r.lost.alive
		w.After(w.between(0, 4*time.Second), r.haunt)
	}
	if r.lost.alive && w.rng.IntN(2) == 0 { // somebody switches it off and on again
		w.After(w.between(0, 4*time.Second), func() { r.lost.crash(); r.lost.start() })
	}
	if w.rng.IntN(2) == 0 {
		victim := []*node{r.survivor, r.fresh}[w.rng.IntN(2)]
		w.cutWhileCopying(r.survivor, victim, w.clk.Now().Add(8*time.Second))
	}
	w.After(w.between(0, time.Second), r.tell)
}

// haunt brings the lost machine back when its place is taken.
func (r *replacement) haunt() {
	r.w.count.States["replace: the lost machine is back, too late"]++
	r.comeBack()
}

// tell has the new machine begin; only the survivor can.
func (r *replacement) tell() {
	switch {
	case r.fresh.alive:
		r.watch()
		return
	case r.survivor.alive:
		r.fresh.start()
	}
	r.w.After(50*time.Millisecond, r.tell)
}

// watch waits until nothing is left to do for it.
func (r *replacement) watch() {
	for _, spec := range r.w.groups {
		if st, ok := r.fresh.status(spec.ID); !ok || !slices.Contains(st.InSync, r.fresh.id) {
			r.w.After(20*time.Millisecond, r.watch)
			return
		}
	}
	r.w.count.States["replace: the newcomer is in sync"]++
	r.w.swap = nil
}

// noteDeath counts what dies while a newcomer is on its way in.
func (r *replacement) noteDeath(n *node, how string) {
	if r == nil || r.fresh == nil || how == restarts {
		return
	}
	who := map[*node]string{r.survivor: "the survivor", r.fresh: "the newcomer", r.w.nodes[2]: "the witness"}[n]
	if who != "" {
		r.w.count.States["replace: "+who+" dies before it is over"]++
	}
}
