package cluster

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"

	"beffroi.dev/pkg/ident"
)

// ReplaceNode gives a lost node's name and site to a new machine, under a fresh
// identity: the lost one's votes and data are not the new one's (R9), and its key is
// nobody's any more. It changes who votes, so it is only applied as a change of
// voters: see ApplyChange.
type ReplaceNode struct {
	Old       ident.Node `json:"old"`
	Node      ident.Node `json:"node"` // fresh
	PublicKey []byte     `json:"public_key"`
	Replica   ident.UUID `json:"replica"`
}

func (a *ReplaceNode) apply(s *State, c *Command) (Result, error) {
	if n, ok := s.Nodes[a.Node]; ok {
		if _, old := s.Nodes[a.Old]; !old && n.Kind == KindNode && n.Replica == a.Replica && bytes.Equal(n.PublicKey, a.PublicKey) {
			return Result{}, nil // it was done
		}
		return Result{}, refuse("replace: %v is a member already: a new machine has a new identity", a.Node)
	}
	if err := a.check(s); err != nil {
		return Result{}, err
	}
	n := s.Nodes[a.Old]
	was := n.PublicKey
	n.PublicKey, n.Replica = bytes.Clone(a.PublicKey), a.Replica
	delete(s.Nodes, a.Old)
	s.Nodes[a.Node] = n
	for id, g := range s.Groups {
		if g.Preferred == a.Old {
			g.Preferred = a.Node
			s.Groups[id] = g
		}
	}
	for id, v := range s.VMs {
		if v.Node == a.Old { // stopped: it is placed nowhere, and nobody may run it under the old placement
			v.Node = 0
			v.Generation++
			s.VMs[id] = v
		}
	}
	for i := range s.Events { // what is told of a node goes by its name
		if s.Events[i].Node == a.Old {
			s.Events[i].Node = a.Node
		}
	}
	s.note(c, Event{Kind: "replace-node", Node: a.Node, Old: fingerprint(was), New: fingerprint(a.PublicKey)})
	return Result{}, nil
}

func (a *ReplaceNode) check(s *State) error {
	old, ok := s.Nodes[a.Old]
	switch {
	case !ok || old.Kind != KindNode:
		return refuse("replace: %v is not a data node of this pair", a.Old)
	case a.Node == 0 || a.Replica.IsZero() || len(a.PublicKey) != ed25519.PublicKeySize:
		return refuse("replace: the new machine lacks an identity, a replica or a key of %d bytes", ed25519.PublicKeySize)
	}
	for _, id := range s.Voters() {
		switch n := s.Nodes[id]; {
		case bytes.Equal(n.PublicKey, a.PublicKey):
			return refuse("replace: the key is that of %s: a new machine has a new key", n.Name)
		case n.Replica == a.Replica:
			return refuse("replace: replica %v is the store of node %s: a clone must be formatted", a.Replica, n.Name)
		}
	}
	// Nothing that was acknowledged may lie on the lost machine alone.
	for _, id := range sortedKeys(s.Groups) {
		if g := s.Groups[id]; g.Config.Has(a.Old) && !mutant.replaceInSync {
			return refuse("replace: node %s is in sync for group %s: its twin must go on alone first", old.Name, g.Name)
		}
	}
	for _, id := range sortedKeys(s.VMs) {
		if v := s.VMs[id]; v.Run && v.Node == a.Old {
			return refuse("replace: VM %s is placed on node %s: it must start on its twin first", v.Name, old.Name)
		}
	}
	return nil
}

// fingerprint tells keys apart in the history.
func fingerprint(key []byte) string { return hex.EncodeToString(key[:min(len(key), 8)]) }

// ChangesVoters reports whether a command changes who votes.
func (c *Command) ChangesVoters() bool {
	_, ok := c.Do.(*ReplaceNode)
	return ok
}

// ApplyChange is ApplyEntry for an entry that changes who votes; what other kinds of
// entry carry of these commands, and what other commands come in this one, is refused.
func ApplyChange(s *State, index uint64, data []byte) (ProposalID, Result) {
	return applyEntry(s, index, data, true)
}
