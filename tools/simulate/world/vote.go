package world

import (
	"fmt"
	"slices"
	"time"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/raftnode"
)

// Ticks of the votes, as in the lab profile.
const (
	voteTick       = 50 * time.Millisecond
	electionTicks  = 8
	heartbeatTicks = 2
)

// voter is one node's part in the vote. Its store survives power cuts.
type voter struct {
	n       *node
	store   *raftnode.Memory
	joins   *cluster.State // who was voted in; nil for who is of the genesis
	v       *raftnode.Voter
	busy    bool // what the last Work asked for is not durable yet
	inbox   []func() error
	asked   map[askedKey]cluster.ProposalID
	waiting map[cluster.ProposalID]func(cluster.Result)
	random  uint64
}

// askedKey makes a proposal that is made again keep its identity.
type askedKey struct {
	group ident.Group
	base  ident.Epoch
	kind  mirror.ProposalKind
}

// genesis is the state that all voters begin with: two groups, one led from
// each node, and the citizens', which is local.
func (w *World) genesis() *cluster.State {
	nodes := map[ident.Node]cluster.Node{witness: {Name: "witness", Kind: cluster.KindWitness, Site: "w", PublicKey: make([]byte, 32)}}
	for i, n := range []ident.Node{blockNodeA, blockNodeB} {
		nodes[n] = cluster.Node{Name: "ab"[i : i+1], Kind: cluster.KindNode, Site: "ab"[i : i+1], PublicKey: make([]byte, 32), Replica: w.replicas[i]}
		nodes[n].PublicKey[0] = byte(i + 1)
	}
	s := cluster.New(w.pair, nodes)
	for i, primary := range []ident.Node{blockNodeA, blockNodeB, blockNodeA} {
		id := ident.Group(i + 1)
		s.Groups[id] = cluster.Group{
			ID: id, Name: fmt.Sprintf("g%d", id), Preferred: primary, Durability: cluster.Strict,
			Config:  cluster.Config{Epoch: 1, Primary: primary, InSync: []ident.Node{blockNodeA, blockNodeB}, Lineage: 1},
			Volumes: []cluster.Volume{{ID: ident.Volume(id), Name: "disk", SizeBytes: cluster.MinVolumeBytes}},
		}
		s.Next.Group, s.Next.Volume = id+1, ident.Volume(id)+1
	}
	s.Service.Group = localGroup
	return s
}

// specs turns the voted state into what the mirror is told.
func specs(s *cluster.State) []mirror.GroupSpec {
	var out []mirror.GroupSpec
	for id := ident.Group(1); id < s.Next.Group; id++ {
		g, ok := s.Groups[id]
		if !ok {
			continue
		}
		c := g.Config
		spec := mirror.GroupSpec{ID: id, Local: id == s.Service.Group, Conf: frame.Conf{
			Epoch: c.Epoch, Primary: c.Primary, InSync: c.InSync, CutEpoch: c.Cut.Epoch, CutSeq: c.Cut.Seq, Lineage: c.Lineage,
		}}
		for _, v := range g.Volumes {
			spec.Volumes = append(spec.Volumes, mirror.VolumeSpec{ID: v.ID, Size: v.SizeBytes})
		}
		out = append(out, spec)
	}
	return out
}

func newVoter(n *node, joins *cluster.State) *voter {
	v := &voter{n: n, store: &raftnode.Memory{}, joins: joins}
	if joins != nil {
		return v
	}
	p, err := raftnode.Genesis(n.w.genesis())
	if err == nil {
		err = v.store.Persist(p)
	}
	if err != nil {
		n.fail(fmt.Errorf("genesis of %s: %w", n.name, err))
	}
	return v
}

func (v *voter) start() error {
	v.busy, v.inbox = false, nil
	v.asked, v.waiting = map[askedKey]cluster.ProposalID{}, map[cluster.ProposalID]func(cluster.Result){}
	from, err := v.store.Restore()
	if err != nil {
		return err
	}
	cfg := raftnode.VoterConfig{SnapshotEvery: 20, Core: raftnode.CoreConfig{
		Self: v.n.id, ElectionTicks: electionTicks, HeartbeatTicks: heartbeatTicks, Joins: v.joins != nil, Seed: v.n.w.rng.Uint64(),
	}}
	if v.joins != nil {
		cfg.Until = v.joins.Clone()
	}
	v.v, err = raftnode.NewVoter(cfg, from)
	return err
}

func (v *voter) crash() { v.v, v.inbox, v.busy = nil, nil, false }

func (v *voter) describe() string {
	if v.v == nil {
		return "no voter"
	}
	return fmt.Sprintf("%+v", v.v.Standing())
}

// begin starts the ticks, and hands over what the log knows, oldest first, as a node
// does that reads its votes anew: its log may reach back to before the groups were
// made.
func (v *voter) begin() {
	v.n.learn(nil, 1)
	v.publish()
	v.tick()
}

func (v *voter) tick() {
	v.n.after(voteTick, func() {
		v.do(func() error { return v.v.Tick() })
		v.tick()
	})
}

func (v *voter) receive(from ident.Node, msg []byte) {
	v.n.w.note("vote "+v.n.name, uint64(from), uint64(len(msg)))
	if !slices.Contains(v.n.known.others, from) {
		v.n.w.count.States["replace: a vote message of the lost machine is heard"]++
	}
	v.do(func() error {
		_ = v.v.Step(from, msg) // a message that does not fit is raft's own affair
		return nil
	})
}

// do runs f when the voter is not waiting for its disk, then does its work.
func (v *voter) do(f func() error) {
	v.inbox = append(v.inbox, f)
	v.pump()
}

func (v *voter) pump() {
	for v.v != nil && !v.busy {
		for _, f := range v.inbox {
			if err := f(); err != nil {
				v.n.fail(fmt.Errorf("voter %s: %w", v.n.name, err))
				return
			}
		}
		v.inbox = nil
		work, ok, err := v.v.Work()
		if err != nil {
			v.n.fail(fmt.Errorf("voter %s: %w", v.n.name, err))
			return
		}
		if !ok {
			return
		}
		v.busy = true
		d := time.Duration(0)
		if !work.Persist.Empty() {
			d = v.n.w.between(50*time.Microsecond, 5*time.Millisecond)
		}
		v.n.after(d, func() { v.finish(work) })
	}
}

// finish makes the work durable and tells about it.
func (v *voter) finish(work raftnode.Work) {
	if !work.Persist.Empty() {
		if err := v.store.Persist(work.Persist); err != nil {
			v.n.fail(fmt.Errorf("voter %s: %w", v.n.name, err))
			return
		}
	}
	for _, m := range work.Messages {
		v.n.net.SendControl(m.To, m.Bytes)
	}
	if err := v.v.Done(); err != nil {
		v.n.fail(fmt.Errorf("voter %s: %w", v.n.name, err))
		return
	}
	v.busy = false
	if len(work.Applied) > 0 || work.Installed {
		v.publish()
	}
	for _, a := range work.Applied {
		v.settle(a)
	}
	v.pump()
}

// settle answers who has proposed.
func (v *voter) settle(a raftnode.Applied) {
	if answer, ok := v.waiting[a.ID]; ok {
		delete(v.waiting, a.ID)
		answer(a.Result)
	}
}

// answer tells the core what became of its proposal.
func (v *voter) answer(p mirror.Proposal, r cluster.Result) {
	out, st := mirror.Chosen, v.v.State()
	if r.Refused != "" {
		out = mirror.Refused
		_, member := st.Nodes[v.n.peer()]
		switch {
		case st.Groups[p.Group].Config.Epoch > p.Base:
			out = mirror.Stale
		case p.Kind == mirror.Grow && !member:
			v.n.w.count.States["replace: the lost node is not taken in again"]++
		default:
			v.n.fail(fmt.Errorf("the vote refused %s of group %d by %s: %s", p.Kind, p.Group, v.n.name, r.Refused))
		}
	}
	v.n.core.ProposalDone(p, out)
}

// publish hands the state to the mirror and notes what it shows.
func (v *voter) publish() {
	w, groups := v.n.w, specs(v.v.State())
	v.n.follow(v.v.State())
	v.n.learn(groups, v.v.State().Next.Group)
	for _, s := range groups {
		w.noteConf(v.n, s)
	}
}

// noteConf counts changes of primary, and checks that each epoch has one
// configuration.
func (w *World) noteConf(n *node, s mirror.GroupSpec) {
	key := confKey{s.ID, s.Conf.Epoch}
	text := fmt.Sprint(s.Conf)
	if seen, ok := w.confs[key]; ok {
		if seen.text != text {
			n.fail(fmt.Errorf("group %d has two configurations in epoch %d: %s and %s", s.ID, s.Conf.Epoch, seen.text, text))
		}
		return
	}
	w.confs[key] = seenConf{text, s.Conf.Primary}
	w.note("configuration", uint64(s.ID), uint64(s.Conf.Epoch), uint64(s.Conf.Primary), uint64(len(s.Conf.InSync)))
	if before, ok := w.confs[confKey{s.ID, s.Conf.Epoch - 1}]; ok && before.primary != s.Conf.Primary {
		w.count.Primaries++
	}
}

type confKey struct {
	group ident.Group
	epoch ident.Epoch
}

type seenConf struct {
	text    string
	primary ident.Node
}

// propose asks the vote for a new configuration of a group.
func (v *voter) propose(p mirror.Proposal) {
	key := askedKey{p.Group, p.Base, p.Kind}
	id, ok := v.asked[key]
	if !ok {
		id = v.newID()
		v.asked[key] = id
	}
	do := &cluster.Reconfigure{Group: p.Group, Base: p.Base, Kind: cluster.ChangeKind(p.Kind), By: v.n.id, New: cluster.Config{
		Epoch: p.Conf.Epoch, Primary: p.Conf.Primary, InSync: p.Conf.InSync, Cut: cluster.Cut{Epoch: p.Conf.CutEpoch, Seq: p.Conf.CutSeq},
		Lineage: p.Conf.Lineage,
	}}
	if p.Kind == mirror.Grow {
		do.Replica = v.n.known.replica
	}
	v.ask(id, do, func(r cluster.Result) { v.answer(p, r) })
}

func (v *voter) newID() cluster.ProposalID {
	v.random++
	return cluster.ProposalID{Node: v.n.id, Random: uint64(v.n.gen)<<32 | v.random}
}

// ask has the vote decide. The answer comes when the entry is applied, in this life.
func (v *voter) ask(id cluster.ProposalID, do cluster.Action, answer func(cluster.Result)) {
	v.waiting[id] = answer
	cmd := cluster.Command{ID: id, WallMS: v.n.clk.Wall().UnixMilli(), Do: do}
	b, err := cmd.Encode()
	if err != nil {
		v.n.fail(fmt.Errorf("encode proposal: %w", err))
		return
	}
	v.do(func() error {
		_ = v.v.Propose(b) // without a leader it is lost; the mirror asks again
		return nil
	})
}
