package config_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/google/go-cmp/cmp"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/transport"
)

func member(id byte, name string, kind cluster.Kind) config.Member {
	m := config.Member{
		ID: ident.Node(id), Name: name, Kind: kind, Site: "site of " + name, PublicKey: bytes.Repeat([]byte{id}, ed25519.PublicKeySize),
		VotePaths: []transport.Path{{Name: "lan", Addr: "10.0.0.1:7103"}},
	}
	if kind == cluster.KindNode {
		m.Replica, m.Citizen = ident.UUID{id}, "10.0.0.1:8080"
	}
	return m
}

func pairOf(self ident.Node) *config.Node {
	return &config.Node{
		Version: config.Version, Pair: ident.UUID{7}, Self: self, Profile: "lab", VoteListen: []transport.Path{{Name: "lan", Addr: "10.0.0.1:7103"}},
		Members: []config.Member{member(1, "a", cluster.KindNode), member(2, "b", cluster.KindNode), member(9, "witness", cluster.KindWitness)},
	}
}

// replaced is the voted state after another machine took b's place.
func replaced(n *config.Node) *cluster.State {
	s := n.Genesis()
	b := s.Nodes[2]
	delete(s.Nodes, 2)
	b.PublicKey, b.Replica = bytes.Repeat([]byte{5}, ed25519.PublicKeySize), ident.UUID{5}
	s.Nodes[5] = b
	return s
}

func TestAMemberFollowsWhatWasVoted(t *testing.T) {
	for _, self := range []ident.Node{1, 9} {
		n := pairOf(self)
		if _, ok := n.Follow(n.Genesis()); ok {
			t.Errorf("%v: follows what it has", self)
		}
		next, ok := n.Follow(replaced(n))
		if !ok {
			t.Fatalf("%v: does not follow", self)
		}
		want := pairOf(self)
		want.Members[1].ID, want.Members[1].Replica, want.Members[1].PublicKey = 5, ident.UUID{5}, bytes.Repeat([]byte{5}, ed25519.PublicKeySize)
		if diff := cmp.Diff(want, next); diff != "" {
			t.Errorf("%v: %s", self, diff)
		}
		if diff := cmp.Diff(pairOf(self), n); diff != "" {
			t.Errorf("%v: the old one changed: %s", self, diff)
		}
		if _, ok := next.Follow(replaced(n)); ok {
			t.Errorf("%v: follows twice", self)
		}
		d := config.Dir(t.TempDir())
		if err := config.Save(d, next); err != nil {
			t.Fatal(err)
		}
		if back, err := config.Load(d); err != nil || cmp.Diff(next, back) != "" {
			t.Errorf("%v: saved and read: %v, %v", self, back, err)
		}
	}
}

func TestWhatIsNobodysToFollowChangesNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		self  ident.Node
		state func(s *cluster.State)
	}{
		{"the machine that was given up", 2, func(*cluster.State) {}},
		{"another pair", 1, func(s *cluster.State) { s.Pair = ident.UUID{8} }},
		{"a member less", 1, func(s *cluster.State) { delete(s.Nodes, 9) }},
		{"a member of another name", 1, func(s *cluster.State) { w := s.Nodes[9]; w.Name = "c"; s.Nodes[9] = w }},
		{"another key for oneself", 1, func(s *cluster.State) { a := s.Nodes[1]; a.PublicKey = bytes.Repeat([]byte{6}, 32); s.Nodes[1] = a }},
		{"half a key", 1, func(s *cluster.State) { b := s.Nodes[5]; b.PublicKey = b.PublicKey[:5]; s.Nodes[5] = b }},
	} {
		n := pairOf(tt.self)
		s := replaced(n)
		tt.state(s)
		if next, ok := n.Follow(s); ok {
			t.Errorf("%s: %+v", tt.name, next.Members)
		}
	}
}
