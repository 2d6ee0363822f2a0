package config

import (
	"bytes"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// Follow makes a configuration with the members that were voted, of this one and the
// voted state: a machine that has taken a lost node's place has its name, site and
// addresses, and an identity, a key and a replica of its own. It reports false when
// there is nothing to change. A state that does not know this member, or that has
// another set of names, is nobody's to follow.
func (n *Node) Follow(s *cluster.State) (*Node, bool) {
	if _, ok := s.Nodes[n.Self]; !ok || s.Pair != n.Pair || len(s.Nodes) != len(n.Members) {
		return nil, false
	}
	named := map[string]ident.Node{}
	for id, v := range s.Nodes {
		named[v.Name] = id
	}
	next := *n
	next.Members = append([]Member(nil), n.Members...)
	changed := false
	for i := range next.Members {
		m := &next.Members[i]
		id, ok := named[m.Name]
		if !ok {
			return nil, false
		}
		v := s.Nodes[id]
		if m.ID == id && m.Replica == v.Replica && bytes.Equal(m.PublicKey, v.PublicKey) {
			continue
		}
		if m.ID == n.Self { // who a member is itself, only its own key says
			return nil, false
		}
		m.ID, m.PublicKey, m.Replica, changed = id, bytes.Clone(v.PublicKey), v.Replica, true
	}
	if !changed || next.Validate() != nil {
		return nil, false
	}
	return &next, true
}
