package cluster_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

const nodeD = ident.Node(4) // takes a lost node's place

var keyD = bytes.Repeat([]byte{4}, 32)

// alone is the town after node b was lost: a goes on alone with both groups, and the VM
// that was stopped on b stays where it was.
func alone(t *testing.T) *cluster.State {
	s := town(t)
	mustApply(t, s, &cluster.CreateGroup{Name: "g3", Preferred: nodeB, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}})
	mustApply(t, s, &cluster.CreateVM{Name: "stopped", Group: 3, CPUs: 1, MemoryMB: 64, Firmware: "bios"})
	mustApply(t, s, &cluster.PlaceVM{VM: 2, Node: nodeB})
	for _, g := range []ident.Group{2, 3} {
		mustApply(t, s, &cluster.Reconfigure{Group: g, Base: 1, Kind: cluster.Promote, By: nodeA, New: cluster.Config{Primary: nodeA, InSync: []ident.Node{nodeA}}})
	}
	mustApply(t, s, &cluster.Record{Event: cluster.Event{Kind: "disk-failed", Node: nodeB}})
	return s
}

func TestAReplacedNodeKeepsItsNameAndNothingElse(t *testing.T) {
	s := alone(t)
	do := &cluster.ReplaceNode{Old: nodeB, Node: nodeD, PublicKey: keyD, Replica: replica(nodeD)}
	mustApply(t, s, do)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	n, ok := s.Nodes[nodeD]
	if _, old := s.Nodes[nodeB]; old || !ok || n.Name != "b" || n.Site != "site-b" || n.Kind != cluster.KindNode || !bytes.Equal(n.PublicKey, keyD) || n.Replica != replica(nodeD) {
		t.Errorf("members: %+v", s.Nodes)
	}
	if p := s.Groups[2].Preferred; p != nodeD {
		t.Errorf("the group that b led by choice prefers %v", p)
	}
	if v := s.VMs[2]; v.Node != 0 || v.Generation != 2 {
		t.Errorf("the VM that was stopped on b: %+v; want it placed nowhere, under a new generation", v)
	}
	if v := s.VMs[1]; v.Node != nodeA || v.Generation != 1 {
		t.Errorf("a VM that runs on a: %+v; want it left alone", v)
	}
	last := s.Events[len(s.Events)-1]
	if last.Kind != "replace-node" || last.Node != nodeD || s.Events[len(s.Events)-2].Node != nodeD {
		t.Errorf("events: %+v", s.Events[len(s.Events)-2:])
	}
	for _, g := range s.Groups {
		if g.Config.Has(nodeD) || g.Config.Has(nodeB) {
			t.Errorf("group %s counts it as in sync: %+v", g.Name, g.Config)
		}
	}
	before, _ := s.Encode()
	mustApply(t, s, do) // asked again in another life of the survivor
	if after, _ := s.Encode(); !bytes.Equal(before, after) {
		t.Error("the same replacement again changed the state")
	}
	grow := &cluster.Reconfigure{Group: 2, Base: 2, Kind: cluster.Grow, By: nodeA, Replica: replica(nodeB), New: cluster.Config{Primary: nodeA, InSync: []ident.Node{nodeA, nodeD}}}
	if _, err := cluster.Apply(s, cluster.Command{Do: grow}); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("grown with the lost store: %v", err)
	}
	grow.Replica = replica(nodeD)
	mustApply(t, s, grow)
	mustApply(t, s, &cluster.ReplaceNode{Old: nodeC, Node: 5, PublicKey: bytes.Repeat([]byte{5}, 32), Replica: replica(5)})
}

func TestAReplacementIsRefusedAndChangesNothing(t *testing.T) {
	good := cluster.ReplaceNode{Old: nodeB, Node: nodeD, PublicKey: keyD, Replica: replica(nodeD)}
	with := func(f func(*cluster.ReplaceNode)) *cluster.ReplaceNode { a := good; f(&a); return &a }
	for _, tc := range []struct {
		name  string
		state func(t *testing.T) *cluster.State
		do    *cluster.ReplaceNode
		want  string
	}{
		{"a node that is in sync", town, &good, "in sync for group"},
		{"a VM that should run there", func(t *testing.T) *cluster.State {
			s := alone(t)
			run := true
			mustApply(t, s, &cluster.UpdateVM{VM: 2, Run: &run})
			return s
		}, &good, "VM stopped is placed on node b"},
		{"a node that is none", alone, with(func(a *cluster.ReplaceNode) { a.Old = 77 }), "not a data node"},
		{"the witness", alone, with(func(a *cluster.ReplaceNode) { a.Old = witness }), "not a data node"},
		{"under the number of a member", alone, with(func(a *cluster.ReplaceNode) { a.Node = nodeA }), "a member already"},
		{"under its own number", alone, with(func(a *cluster.ReplaceNode) { a.Node = nodeB }), "a member already"},
		{"under no number", alone, with(func(a *cluster.ReplaceNode) { a.Node = 0 }), "lacks"},
		{"without a key", alone, with(func(a *cluster.ReplaceNode) { a.PublicKey = nil }), "lacks"},
		{"with half a key", alone, with(func(a *cluster.ReplaceNode) { a.PublicKey = keyD[:16] }), "lacks"},
		{"without a store", alone, with(func(a *cluster.ReplaceNode) { a.Replica = ident.UUID{} }), "lacks"},
		{"with the survivor's store", alone, with(func(a *cluster.ReplaceNode) { a.Replica = replica(nodeA) }), "clone"},
		{"with the lost store", alone, with(func(a *cluster.ReplaceNode) { a.Replica = replica(nodeB) }), "clone"},
		{"with the key of a member", func(t *testing.T) *cluster.State {
			s := alone(t)
			n := s.Nodes[nodeA]
			n.PublicKey = keyD
			s.Nodes[nodeA] = n
			return s
		}, &good, "new key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tc.state(t)
			before, _ := s.Encode()
			_, err := cluster.Apply(s, cluster.Command{Do: tc.do})
			if !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want a refusal with %q", err, tc.want)
			}
			if after, _ := s.Encode(); !bytes.Equal(before, after) {
				t.Error("it changed the state")
			}
		})
	}
}
