package cluster

import (
	"slices"

	"beffroi.dev/pkg/ident"
)

// Sizes of volumes, in bytes.
const (
	MinVolumeBytes  = 1 << 20
	MaxVolumeBytes  = 64 << 40
	volumeUnitBytes = 4096
)

// NewVolume asks for a volume.
type NewVolume struct {
	Name      string `json:"name"`
	SizeBytes int64  `json:"size_bytes"`
}

// CreateGroup makes a volume group, blank and in sync on InSync, or on all data
// nodes when that is left out.
type CreateGroup struct {
	Name       string       `json:"name"`
	Preferred  ident.Node   `json:"preferred"` // also the first primary
	Durability Durability   `json:"durability"`
	Volumes    []NewVolume  `json:"volumes"`
	InSync     []ident.Node `json:"in_sync,omitempty"`
}

func (a *CreateGroup) apply(s *State, c *Command) (Result, error) {
	if err := a.check(s); err != nil {
		return Result{}, err
	}
	set := slices.Clone(a.InSync)
	if len(set) == 0 {
		set = s.DataNodes()
	}
	slices.Sort(set)
	if err := s.checkSet(set, a.Preferred); err != nil {
		return Result{}, refuse("%v", err)
	}
	for _, n := range set {
		if s.Nodes[n].Replica.IsZero() {
			return Result{}, refuse("node %s has no store yet", s.Nodes[n].Name)
		}
	}
	g := Group{
		ID: s.Next.Group, Name: a.Name, Preferred: a.Preferred, Durability: a.Durability,
		Config: Config{Epoch: 1, Primary: a.Preferred, InSync: set, Lineage: 1},
	}
	res := Result{Group: g.ID, Epoch: 1}
	for _, v := range a.Volumes {
		g.Volumes = append(g.Volumes, Volume{ID: s.Next.Volume, Name: v.Name, SizeBytes: v.SizeBytes})
		res.Volumes = append(res.Volumes, s.Next.Volume)
		s.Next.Volume++
	}
	s.Next.Group++
	s.Groups[g.ID] = g
	s.note(c, Event{Kind: "create-group", Group: g.ID, New: g.Name + ": " + s.describe(g.Config)})
	return res, nil
}

func (a *CreateGroup) check(s *State) error {
	if err := ident.CheckName(a.Name); err != nil {
		return refuse("group: %v", err)
	}
	if len(s.Groups) >= maxGroups {
		return refuse("there are %d groups already, the most allowed", maxGroups)
	}
	for _, g := range s.Groups {
		if g.Name == a.Name {
			return refuse("group %s exists already", a.Name)
		}
	}
	if a.Durability != Strict {
		// The mirror knows no other yet, and a label must not promise what is not done.
		return refuse("durability %.20q, use strict", a.Durability)
	}
	if len(a.Volumes) == 0 || len(a.Volumes) > maxVolumes {
		return refuse("%d volumes, use 1 to %d", len(a.Volumes), maxVolumes)
	}
	for i, v := range a.Volumes {
		if err := ident.CheckName(v.Name); err != nil {
			return refuse("volume: %v", err)
		}
		if slices.ContainsFunc(a.Volumes[:i], func(w NewVolume) bool { return w.Name == v.Name }) {
			return refuse("volume %s is named twice", v.Name)
		}
		if v.SizeBytes < MinVolumeBytes || v.SizeBytes > MaxVolumeBytes || v.SizeBytes%volumeUnitBytes != 0 {
			return refuse("volume %s of %d bytes, use 1 MiB to 64 TiB in steps of %d bytes", v.Name, v.SizeBytes, volumeUnitBytes)
		}
	}
	return nil
}

// DeleteGroup forgets a group and its volumes.
type DeleteGroup struct {
	Group ident.Group `json:"group"`
}

func (a *DeleteGroup) apply(s *State, c *Command) (Result, error) {
	g, ok := s.Groups[a.Group]
	if !ok {
		return Result{}, refuse("group %d does not exist", a.Group)
	}
	if s.Service.Group == a.Group {
		return Result{}, refuse("group %s holds the citizen service", g.Name)
	}
	for _, id := range sortedKeys(s.VMs) {
		if s.VMs[id].Group == a.Group {
			return Result{}, refuse("group %s holds the disks of VM %s: delete that first", g.Name, s.VMs[id].Name)
		}
	}
	delete(s.Groups, a.Group)
	s.note(c, Event{Kind: "delete-group", Group: a.Group, Old: g.Name})
	return Result{Group: a.Group}, nil
}

// SetPreferred says where a group is led when both sites are well.
type SetPreferred struct {
	Group ident.Group `json:"group"`
	Node  ident.Node  `json:"node"`
}

func (a *SetPreferred) apply(s *State, c *Command) (Result, error) {
	g, ok := s.Groups[a.Group]
	if !ok {
		return Result{}, refuse("group %d does not exist", a.Group)
	}
	if s.Nodes[a.Node].Kind != KindNode {
		return Result{}, refuse("node %v is not a data node of this pair", a.Node)
	}
	old := g.Preferred
	g.Preferred = a.Node
	s.Groups[g.ID] = g
	s.note(c, Event{Kind: "prefer", Group: g.ID, Old: s.Nodes[old].Name, New: s.Nodes[a.Node].Name})
	return Result{Group: g.ID}, nil
}

// SetService says which group holds the citizen service; zero for none.
type SetService struct {
	Group ident.Group `json:"group"`
}

func (a *SetService) apply(s *State, c *Command) (Result, error) {
	if _, ok := s.Groups[a.Group]; !ok && a.Group != 0 {
		return Result{}, refuse("group %d does not exist", a.Group)
	}
	s.Service.Group = a.Group
	s.note(c, Event{Kind: "service", Group: a.Group})
	return Result{Group: a.Group}, nil
}
