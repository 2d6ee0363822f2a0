package leave

import (
	"cmp"
	"slices"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// plan is what the twin can be given.
type plan struct {
	twin   ident.Node    // zero: nobody is there to give anything to
	groups []ident.Group // led here; the citizens' first
	vms    []status.PlacedVM
}

// makePlan reads the node's status. It is pure.
func makePlan(n status.Node) plan {
	var p plan
	for _, m := range n.Members {
		if m.Kind == string(cluster.KindNode) && m.ID != n.ID && m.Up {
			p.twin = m.ID
		}
	}
	if p.twin == 0 || !n.Votes.Vouched {
		return plan{}
	}
	ready := map[ident.Group]bool{}
	groups := slices.Clone(n.Groups)
	slices.SortStableFunc(groups, func(a, b status.Group) int { return cmp.Compare(rank(a), rank(b)) })
	for _, g := range groups {
		ready[g.ID] = slices.Contains(g.InSync, p.twin)
		if g.Primary == n.ID && ready[g.ID] {
			p.groups = append(p.groups, g.ID)
		}
	}
	for _, v := range n.AllVMs {
		if v.Run && v.Node == n.ID && ready[v.Group] {
			p.vms = append(p.vms, v)
		}
	}
	return p
}

func rank(g status.Group) int {
	if g.Citizen {
		return 0
	}
	return 1
}
