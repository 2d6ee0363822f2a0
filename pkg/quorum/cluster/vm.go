package cluster

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"beffroi.dev/pkg/ident"
)

// Sizes of VMs.
const (
	MaxCPUs     = 128
	MinMemoryMB = 64
	MaxMemoryMB = 1 << 20
)

// CreateVM makes a VM whose disks are the volumes of a group. It is placed
// nowhere yet.
type CreateVM struct {
	Name     string      `json:"name"`
	Group    ident.Group `json:"group"`
	CPUs     int         `json:"cpus"`
	MemoryMB int         `json:"memory_mb"`
	Firmware string      `json:"firmware"`
	Run      bool        `json:"run"`
	Cards    *int        `json:"cards,omitempty"` // network cards; DefaultCards when it is not said
}

func (a *CreateVM) apply(s *State, c *Command) (Result, error) {
	if err := ident.CheckName(a.Name); err != nil {
		return Result{}, refuse("VM: %v", err)
	}
	if len(s.VMs) >= maxVMs {
		return Result{}, refuse("there are %d VMs already, the most allowed", maxVMs)
	}
	g, ok := s.Groups[a.Group]
	if !ok || s.Service.Group == a.Group {
		return Result{}, refuse("group %d does not exist, or holds the citizen service", a.Group)
	}
	for _, id := range sortedKeys(s.VMs) {
		if s.VMs[id].Name == a.Name {
			return Result{}, refuse("VM %s exists already", a.Name)
		}
		if s.VMs[id].Group == a.Group {
			return Result{}, refuse("group %s holds the disks of VM %s already", g.Name, s.VMs[id].Name)
		}
	}
	v := VM{ID: s.Next.VM, Name: a.Name, Group: a.Group, CPUs: a.CPUs, MemoryMB: a.MemoryMB, Firmware: a.Firmware, Run: a.Run}
	n := DefaultCards
	set(&n, a.Cards)
	var err error
	if v.Cards, err = s.cards(v, n); err != nil {
		return Result{}, err
	}
	if err := v.check(); err != nil {
		return Result{}, err
	}
	s.Next.VM++
	s.VMs[v.ID] = v
	s.note(c, Event{Kind: "create-vm", VM: v.ID, Group: v.Group, New: v.Name})
	return Result{VM: v.ID, Group: v.Group}, nil
}

func (v VM) check() error {
	if v.CPUs < 1 || v.CPUs > MaxCPUs {
		return refuse("%d processors, use 1 to %d", v.CPUs, MaxCPUs)
	}
	if v.MemoryMB < MinMemoryMB || v.MemoryMB > MaxMemoryMB {
		return refuse("%d MB of memory, use %d to %d", v.MemoryMB, MinMemoryMB, MaxMemoryMB)
	}
	if v.Firmware != "bios" && v.Firmware != "uefi" {
		return refuse("firmware %.20q, use bios or uefi", v.Firmware)
	}
	return nil
}

// UpdateVM changes what is given and keeps the rest.
type UpdateVM struct {
	VM       ident.VM `json:"vm"`
	CPUs     *int     `json:"cpus,omitempty"`
	MemoryMB *int     `json:"memory_mb,omitempty"`
	Firmware *string  `json:"firmware,omitempty"`
	Run      *bool    `json:"run,omitempty"`
	Cards    *int     `json:"cards,omitempty"` // how many; those that stay keep their addresses
}

func (a *UpdateVM) apply(s *State, c *Command) (Result, error) {
	v, ok := s.VMs[a.VM]
	if !ok {
		return Result{}, refuse("VM %d does not exist", a.VM)
	}
	ran := v.Run
	set(&v.CPUs, a.CPUs)
	set(&v.MemoryMB, a.MemoryMB)
	set(&v.Firmware, a.Firmware)
	set(&v.Run, a.Run)
	if a.Cards != nil {
		var err error
		if v.Cards, err = s.cards(v, *a.Cards); err != nil {
			return Result{}, err
		}
	}
	if err := v.check(); err != nil {
		return Result{}, err
	}
	s.VMs[v.ID] = v
	if ran != v.Run {
		s.note(c, Event{Kind: "vm-run", VM: v.ID, Old: strconv.FormatBool(ran), New: strconv.FormatBool(v.Run)})
	} else {
		s.note(c, Event{Kind: "update-vm", VM: v.ID})
	}
	return Result{VM: v.ID}, nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// DeleteVM forgets a VM that is not wanted running. Its group stays.
type DeleteVM struct {
	VM ident.VM `json:"vm"`
}

func (a *DeleteVM) apply(s *State, c *Command) (Result, error) {
	v, ok := s.VMs[a.VM]
	if !ok {
		return Result{}, refuse("VM %d does not exist", a.VM)
	}
	if v.Run {
		return Result{}, refuse("VM %s is meant to run: stop it first", v.Name)
	}
	delete(s.VMs, a.VM)
	s.note(c, Event{Kind: "delete-vm", VM: a.VM, Old: v.Name})
	return Result{VM: a.VM, Group: v.Group}, nil
}

// PlaceVM says where a VM may run, if nobody placed it since: Base is the
// generation that the proposer saw.
type PlaceVM struct {
	VM    ident.VM   `json:"vm"`
	Base  uint64     `json:"base"`
	Node  ident.Node `json:"node"` // zero: nowhere
	Cause string     `json:"cause,omitempty"`
}

func (a *PlaceVM) apply(s *State, c *Command) (Result, error) {
	v, ok := s.VMs[a.VM]
	if !ok {
		return Result{}, refuse("VM %d does not exist", a.VM)
	}
	if v.Generation != a.Base {
		return Result{}, refuse("VM %s is in generation %d, the placement was made for %d", v.Name, v.Generation, a.Base)
	}
	if a.Node != 0 && s.Nodes[a.Node].Kind != KindNode {
		return Result{}, refuse("node %v is not a data node of this pair", a.Node)
	}
	old := v.Node
	v.Node = a.Node
	v.Generation++
	s.VMs[v.ID] = v
	s.note(c, Event{Kind: "place-vm", VM: v.ID, Old: s.Nodes[old].Name, New: s.Nodes[a.Node].Name, Cause: clip(a.Cause)})
	return Result{VM: v.ID}, nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
