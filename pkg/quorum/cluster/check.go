package cluster

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"beffroi.dev/pkg/ident"
)

// Check reports everything in the state that no sequence of commands can have
// made: a genesis that was put together wrongly, or a damaged snapshot.
func (s *State) Check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if s.Version != Version {
		fault("version %d, want %d", s.Version, Version)
	}
	if s.Pair.IsZero() {
		fault("no pair identity")
	}
	for _, id := range s.Voters() {
		n := s.Nodes[id]
		if err := ident.CheckName(n.Name); err != nil || id == 0 || n.Kind != KindNode && n.Kind != KindWitness {
			fault("node %v: identity, name or kind is wrong", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.Groups)) {
		s.checkGroup(id, fault)
	}
	for _, id := range slices.Sorted(maps.Keys(s.VMs)) {
		v := s.VMs[id]
		if _, ok := s.Groups[v.Group]; !ok || v.ID != id || id == 0 || id >= s.Next.VM {
			fault("VM %d: identity or group is wrong", id)
		}
		if v.Node != 0 && s.Nodes[v.Node].Kind != KindNode {
			fault("VM %d: placed on %v, not a data node", id, v.Node)
		}
		s.checkCards(v, fault)
	}
	if s.Service.Group != 0 {
		if _, ok := s.Groups[s.Service.Group]; !ok {
			fault("service: group %d does not exist", s.Service.Group)
		}
	}
	if s.Next.Group == 0 || s.Next.Volume == 0 || s.Next.VM == 0 {
		fault("counters: want them from 1")
	}
	if len(s.Events) > maxEvents || len(s.Recent) > maxRecent {
		fault("%d events and %d proposals, at most %d and %d", len(s.Events), len(s.Recent), maxEvents, maxRecent)
	}
	return errors.Join(faults...)
}

func (s *State) checkGroup(id ident.Group, fault func(string, ...any)) {
	g := s.Groups[id]
	if g.ID != id || id == 0 || id >= s.Next.Group || len(g.Volumes) == 0 {
		fault("group %d: identity or volumes are wrong", id)
	}
	if g.Config.Epoch == 0 || g.Config.Lineage == 0 {
		fault("group %d: epoch %d, lineage %d: want both from 1", id, g.Config.Epoch, g.Config.Lineage)
	}
	if err := s.checkSet(g.Config.InSync, g.Config.Primary); err != nil {
		fault("group %d: %w", id, err)
	}
	for _, v := range g.Volumes {
		if v.ID == 0 || v.ID >= s.Next.Volume {
			fault("group %d: volume %d out of range", id, v.ID)
		}
	}
}

func (s *State) checkCards(v VM, fault func(string, ...any)) {
	if len(v.Cards) > MaxCards {
		fault("VM %d: %d network cards, at most %d", v.ID, len(v.Cards), MaxCards)
	}
	for _, c := range v.Cards {
		if !isMAC(c.MAC) {
			fault("VM %d: card %.20q is no address of one card, locally administered", v.ID, c.MAC)
		}
	}
}

// checkSet tells whether an in-sync set may exist at all.
func (s *State) checkSet(set []ident.Node, primary ident.Node) error {
	if len(set) == 0 {
		return errors.New("the in-sync set is empty")
	}
	for i, n := range set {
		if s.Nodes[n].Kind != KindNode {
			return fmt.Errorf("in-sync member %v is not a data node of this pair", n)
		}
		if i > 0 && set[i-1] >= n {
			return errors.New("the in-sync set is not sorted, or names a node twice")
		}
	}
	if !slices.Contains(set, primary) {
		return fmt.Errorf("primary %v is not in the in-sync set", primary)
	}
	return nil
}
