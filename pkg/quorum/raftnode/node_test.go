package raftnode_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/quorum/raftnode"
	"beffroi.dev/pkg/transport"
	"beffroi.dev/pkg/transport/transporttest"
)

// town is three real voters over TLS on loopback, with their logs on disk.
type town struct {
	t       *testing.T
	keys    map[ident.Node]ed25519.PrivateKey
	addrs   map[ident.Node]string
	folders map[ident.Node]string
	mesh    map[ident.Node]*transport.Mesh
	nodes   map[ident.Node]*raftnode.Node
	clocks  map[ident.Node]clock.Clock // where it is not the system's
}

func (w *town) clock(id ident.Node) clock.Clock {
	if c := w.clocks[id]; c != nil {
		return c
	}
	return clock.System{}
}

func newTown(t *testing.T) *town {
	w := &town{t: t, keys: map[ident.Node]ed25519.PrivateKey{}, addrs: map[ident.Node]string{}, folders: map[ident.Node]string{},
		mesh: map[ident.Node]*transport.Mesh{}, nodes: map[ident.Node]*raftnode.Node{}}
	for _, id := range voterIDs {
		_, w.keys[id], _ = ed25519.GenerateKey(nil)
		w.addrs[id], w.folders[id] = transporttest.Addr(), t.TempDir()
	}
	t.Cleanup(func() {
		for _, id := range voterIDs {
			w.kill(id)
		}
	})
	return w
}

func (w *town) start(id ident.Node) {
	w.t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	cfg := transport.Config{Self: id, Pair: pairID, Key: w.keys[id], Listen: []transport.Path{{Name: "lan", Addr: w.addrs[id]}}, Timing: transport.DefaultTiming()}
	for _, other := range voterIDs {
		if other != id {
			cfg.Peers = append(cfg.Peers, transport.Peer{ID: other, PublicKey: w.keys[other].Public().(ed25519.PublicKey), Paths: []transport.Path{{Name: "lan", Addr: w.addrs[other]}}})
		}
	}
	mesh, err := transport.New(cfg, clock.System{}, quiet)
	if err != nil {
		w.t.Fatal(err)
	}
	log, err := raftnode.OpenLog(w.folders[id], id, pairID)
	if err != nil {
		w.t.Fatal(err)
	}
	mux := &transport.Mux{}
	node, err := raftnode.New(raftnode.Config{Self: id, Timing: lease.Lab()}, log, genesis(), mux.Sender(transport.ChannelVote, mesh), w.clock(id), quiet)
	if err != nil {
		w.t.Fatal(err)
	}
	mux.Route(transport.ChannelVote, node.Receive)
	node.Start(w.t.Context())
	mesh.Start(w.t.Context(), mux)
	w.mesh[id], w.nodes[id] = mesh, node
}

// offClock shows another time of day.
type offClock struct {
	clock.System
	off time.Duration
}

func (c offClock) Wall() time.Time { return c.System.Wall().Add(c.off) }

// A clock that is off is found out by the two others, and they by none.
func TestAWrongClockIsToldByTheOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("real time: some seconds")
	}
	w := newTown(t)
	w.clocks = map[ident.Node]clock.Clock{voterIDs[0]: offClock{off: -240 * time.Hour}}
	for _, id := range voterIDs {
		w.start(id)
	}
	w.await("the wrong one to be told", func() bool {
		v := w.nodes[voterIDs[0]].Clock(false)
		return v.Wrong && (v.By-240*time.Hour).Abs() < time.Minute
	})
	w.await("the others to see that clocks differ", func() bool {
		b, c := w.nodes[voterIDs[1]].Clock(false), w.nodes[voterIDs[2]].Clock(false)
		if b.Wrong || c.Wrong {
			t.Fatalf("a clock that is right is called wrong: %+v, %+v", b, c)
		}
		return b.Differ && c.Differ
	})
}

func (w *town) kill(id ident.Node) {
	if w.nodes[id] == nil {
		return
	}
	if err := errors.Join(w.mesh[id].Close(), w.nodes[id].Close()); err != nil {
		w.t.Errorf("close %v: %v", id, err)
	}
	delete(w.nodes, id)
	delete(w.mesh, id)
}

func (w *town) await(what string, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited too long for %s", what)
		}
	}
}

// leader is the voter that all running ones follow.
func (w *town) leader() ident.Node {
	var id ident.Node
	for _, n := range w.nodes {
		l := n.Leader()
		if l == 0 || w.nodes[l] == nil || id != 0 && l != id {
			return 0
		}
		id = l
	}
	return id
}

func (w *town) record(by ident.Node, kind string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	if _, err := w.nodes[by].Propose(ctx, &cluster.Record{Event: cluster.Event{Kind: kind}}); err != nil {
		w.t.Fatalf("propose by %v: %v", by, err)
	}
}

func TestThreeVotersGoOnWhileAnyOneIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("real time: some seconds")
	}
	w := newTown(t)
	for _, id := range voterIDs {
		w.start(id)
	}
	w.await("a leader", func() bool { return w.leader() != 0 })
	var took []time.Duration
	const rounds = 6
	for i := range rounds {
		victim := w.leader()
		survivor := voterIDs[slices.IndexFunc(voterIDs, func(id ident.Node) bool { return id != victim })]
		w.record(survivor, fmt.Sprintf("before-%d", i))
		began := time.Now()
		w.kill(victim)
		w.await("another leader", func() bool { l := w.leader(); return l != 0 && l != victim })
		took = append(took, time.Since(began).Round(time.Millisecond))
		w.record(survivor, fmt.Sprintf("without-%d", i))
		w.start(victim)
		w.await("the killed one to rejoin", func() bool {
			return w.nodes[victim].State().Index >= w.nodes[survivor].State().Index && w.leader() != 0
		})
	}
	slices.Sort(took)
	t.Logf("profile lab, leader killed to leader known by both survivors: %v", took)
	for _, id := range voterIDs {
		w.await("all voters to agree", func() bool { return len(w.nodes[id].State().Events) == 2*rounds })
		for i, e := range w.nodes[id].State().Events {
			if want := fmt.Sprintf("%s-%d", []string{"before", "without"}[i%2], i/2); e.Kind != want {
				t.Errorf("voter %v, event %d: %s; want %s, each once and in order", id, i, e.Kind, want)
			}
		}
	}
}

func TestAWatcherSeesTheNewestState(t *testing.T) {
	w := newTown(t)
	for _, id := range voterIDs {
		w.start(id)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i := range 5 {
		before := w.nodes[2].State().Index
		w.record(1, "ding")
		s, err := w.nodes[2].Watch(ctx, before)
		if err != nil || s.Index <= before {
			t.Fatalf("watch %d: %v, %v; want a newer state than %d", i, s, err, before)
		}
	}
	w.kill(2)
}

func TestARefusedProposalSaysWhy(t *testing.T) {
	w := newTown(t)
	for _, id := range voterIDs {
		w.start(id)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := w.nodes[1].Propose(ctx, &cluster.DeleteGroup{Group: 9})
	if !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("Propose = %v; want a refusal", err)
	}
}

func TestWithoutAMajorityAProposalStaysUndecidedAndNobodyIsVouchedFor(t *testing.T) {
	w := newTown(t)
	w.start(1)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := w.nodes[1].Propose(ctx, &cluster.Record{Event: cluster.Event{Kind: "x"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Propose = %v; want undecided", err)
	}
	if since, ok := w.nodes[1].Vouched(); ok {
		t.Errorf("vouched for since %v by itself alone", since)
	}
	w.start(3)
	w.await("the witness to vouch", func() bool { _, ok := w.nodes[1].Vouched(); return ok })
	w.await("the silence of the other node", func() bool {
		silence, quiet := w.nodes[1].Silences()
		return silence[2] > 500*time.Millisecond && quiet[2] > 500*time.Millisecond && silence[3] < time.Second
	})
	if _, ok := w.nodes[3].Vouched(); ok {
		t.Error("the witness asks to be vouched for; it has nothing to hold")
	}
	if !w.nodes[1].Seek(2) {
		t.Error("a node that was never heard is not sought over from")
	}
	w.nodes[1].Release(2)
}

func TestADamagedMessageIsCountedAndForgotten(t *testing.T) {
	w := newTown(t)
	w.start(1)
	for _, m := range [][]byte{nil, {}, {0}, {1, 255, 255}, {2}, {3, 1, 2, 3}, {99}, append([]byte{2}, make([]byte, 8)...)} {
		w.nodes[1].Receive(2, m)
	}
	w.await("the damaged ones to be counted", func() bool { return w.nodes[1].Status().Dropped >= 7 })
}
