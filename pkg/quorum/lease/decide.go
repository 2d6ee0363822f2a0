package lease

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// GroupView is what a node sees of a group on its own side.
type GroupView struct {
	Fit       bool          // its replica is healthy and can lead
	Confirmed ident.Epoch   // the epoch that this life has led or obtained; 0: none
	Cut       cluster.Cut   // the contiguous end of its replica
	Settled   time.Duration // how long all members of the set have been well
}

// VMView is what a node sees of a VM on its own side.
type VMView struct {
	Running bool
	// Claimed is the generation that this node obtained for the VM by a claim of
	// its own, in this life and since its last fence; or, for a VM it found alive
	// and re-attached to with the fence not passed, the one it was started under.
	Claimed uint64
}

// View is what a node observes; all of it by its own clock.
type View struct {
	Vouched bool                         // a majority vouched within AddressDrop
	Silence map[ident.Node]time.Duration // Rounds.Silence of the others
	Quiet   map[ident.Node]time.Duration // Grants.Silence of the others: what this node itself knows
	Groups  map[ident.Group]GroupView
	VMs     map[ident.VM]VMView
}

// Decision is what a node should do and ask for. The lists are in the order of
// their identities.
type Decision struct {
	Lead    []ident.Group         // to be led: primary, and confirmed in this life
	Run     []ident.VM            // to be running here
	Stop    []ident.VM            // running here and not allowed to
	Address bool                  // hold the service address
	Changes []cluster.Reconfigure // to be proposed, as one batch; a promotion only after Grants.Seek
	Claims  []cluster.PlaceVM     // to be proposed
}

// Decide says what the node self should lead, run, hold and propose, in the
// newest state it knows and by what it observes. Proposals are repeated until
// the state shows them or shows why not; all are compare-and-set.
func Decide(t Timing, s *cluster.State, self ident.Node, v View) Decision {
	var d Decision
	for _, id := range slices.Sorted(maps.Keys(s.Groups)) {
		d.group(t, s, self, v, s.Groups[id])
	}
	for _, id := range slices.Sorted(maps.Keys(s.VMs)) {
		d.vm(t, s, self, v, s.VMs[id])
	}
	for _, id := range slices.Sorted(maps.Keys(v.VMs)) {
		if _, known := s.VMs[id]; !known && v.VMs[id].Running {
			d.Stop = append(d.Stop, id)
		}
	}
	if g, ok := s.Groups[s.Service.Group]; ok && slices.Contains(d.Lead, g.ID) {
		d.Address = v.Vouched || alone(g.Config, self)
	}
	return d
}

func (d *Decision) group(t Timing, s *cluster.State, self ident.Node, v View, g cluster.Group) {
	c, own := g.Config, v.Groups[g.ID]
	change := cluster.Reconfigure{Group: g.ID, Base: c.Epoch, By: self, New: cluster.Config{Primary: self, InSync: c.InSync, Cut: later(own.Cut, c)}}
	switch {
	case c.Primary == self && !own.Fit:
		// Our disk has failed: hand over to a member that lives, if there is one.
		if to, ok := living(t, c, self, v); ok {
			change.Kind, change.New.Primary, change.Cause = cluster.Switch, to, "replica of the primary is not fit"
			d.Changes = append(d.Changes, change)
		}
	case c.Primary == self && own.Confirmed != c.Epoch:
		// A restart (R7), or an epoch we were handed: lead only once the vote has
		// confirmed it in this life.
		change.Kind, change.Cause = cluster.Restart, "the primary started"
		d.Changes = append(d.Changes, change)
	case c.Primary == self:
		d.Lead = append(d.Lead, g.ID)
		if to := g.Preferred; to != self && c.Has(to) && own.Settled >= t.Settle && v.Silence[to] < t.Lease {
			change.Kind, change.New.Primary, change.Cause = cluster.Switch, to, "return to the preferred site"
			d.Changes = append(d.Changes, change)
		}
	case c.Has(self) && own.Fit && v.Quiet[c.Primary] >= t.Grace && v.Silence[c.Primary] >= t.Grace:
		// One proposal promotes and removes the dead peer: it never waits for it (R5).
		change.Kind, change.Cause = cluster.Promote, fmt.Sprintf("no voter of a majority heard %s for %v", s.Nodes[c.Primary].Name, v.Silence[c.Primary].Round(time.Millisecond))
		change.New.InSync = heard(t, c, self, v)
		d.Changes = append(d.Changes, change)
	}
}

// later is the cut to propose: the replica's end, if it says one beyond the
// group's and not of an epoch that is yet to come.
func later(own cluster.Cut, c cluster.Config) cluster.Cut {
	if own.Before(c.Cut) || own.Epoch > c.Epoch {
		return c.Cut
	}
	return own
}

// living finds another member that a majority has heard recently.
func living(t Timing, c cluster.Config, self ident.Node, v View) (ident.Node, bool) {
	for _, n := range c.InSync {
		if n != self && v.Vouched && v.Silence[n] < t.Lease {
			return n, true
		}
	}
	return 0, false
}

// heard is the part of the in-sync set that has not been silent for the grace.
func heard(t Timing, c cluster.Config, self ident.Node, v View) []ident.Node {
	var set []ident.Node
	for _, n := range c.InSync {
		if n == self || v.Silence[n] < t.Grace {
			set = append(set, n)
		}
	}
	return set
}

func (d *Decision) vm(t Timing, s *cluster.State, self ident.Node, v View, m cluster.VM) {
	own, c := v.VMs[m.ID], s.Groups[m.Group].Config
	allowed := m.Run && m.Node == self && own.Claimed == m.Generation && m.Generation != 0
	switch {
	case allowed:
		d.Run = append(d.Run, m.ID)
		return
	case own.Running:
		d.Stop = append(d.Stop, m.ID)
	}
	if !m.Run || !c.Has(self) {
		return
	}
	claim := cluster.PlaceVM{VM: m.ID, Base: m.Generation, Node: self}
	switch {
	case m.Node == self && !own.Running:
		claim.Cause = "start after a restart or a fence"
	case m.Node == 0 && c.Primary == self:
		claim.Cause = "first start"
	case m.Node != self && m.Node != 0 && c.Primary == self && v.Silence[m.Node] >= t.MoveAfter():
		claim.Cause = fmt.Sprintf("no voter of a majority heard %s for %v", s.Nodes[m.Node].Name, v.Silence[m.Node].Round(time.Millisecond))
	default:
		return
	}
	d.Claims = append(d.Claims, claim)
}
