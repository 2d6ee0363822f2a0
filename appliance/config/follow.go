package config

import (
	"bytes"
	"context"
	"log/slog"
	"time"

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

// AwaitMembers waits until others are members than this configuration says, keeps what
// Follow makes of that with save, again until that is durable, and returns it. It returns
// nil when watch fails, as it does when ctx ends.
func (n *Node) AwaitMembers(ctx context.Context, watch func(ctx context.Context, after uint64) (*cluster.State, error), save func(*Node) error, log *slog.Logger) *Node {
	var after uint64
	for ctx.Err() == nil {
		st, err := watch(ctx, after)
		if err != nil {
			return nil
		}
		next, ok := n.Follow(st)
		if !ok {
			after = st.Index
			continue
		}
		if err = save(next); err == nil {
			return next
		}
		log.Error("another machine has taken a lost node's place; the configuration that says so cannot be kept yet", "cause", err)
		select {
		case <-ctx.Done():
		case <-time.After(saveAgain):
		}
	}
	return nil
}

// saveAgain is the pause before a configuration that could not be written is written
// again.
const saveAgain = time.Second
