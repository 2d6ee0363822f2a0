package store

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// errNoExport is told to an NBD client as an unknown export.
var errNoExport = errors.New("no such volume")

// exports finds volumes by name in the newest voted state.
type exports struct{ s *Service }

// List names what can be opened without a generation.
func (e exports) List() []string {
	st := e.s.current()
	if st == nil {
		return nil
	}
	var names []string
	for _, g := range st.Groups {
		for _, v := range g.Volumes {
			names = append(names, g.Name+"/"+v.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Open finds GROUP/VOLUME or GROUP/VOLUME@GENERATION. A generation that is not
// known here yet closes the connection, so that the client tries again.
func (e exports) Open(name string) (nbd.Export, error) {
	st := e.s.current()
	if st == nil {
		return nbd.Export{}, fmt.Errorf("the voted state is not known yet: %w", disk.ErrClosed)
	}
	path, gen, given := strings.Cut(name, "@")
	groupName, volumeName, _ := strings.Cut(path, "/")
	for _, g := range st.Groups {
		if g.Name != groupName {
			continue
		}
		i := slices.IndexFunc(g.Volumes, func(v cluster.Volume) bool { return v.Name == volumeName })
		if i < 0 {
			break
		}
		token, err := checkGeneration(st, g, gen, given, e.s)
		if err != nil {
			return nbd.Export{}, fmt.Errorf("volume %q: %w", name, err)
		}
		v := g.Volumes[i]
		return nbd.Export{
			Name: name, Description: "beffroi volume " + path,
			Queue: e.s.engine.Volume(g.ID, v.ID, v.SizeBytes, token),
		}, nil
	}
	if time.Since(e.s.begun) < catchUp {
		// A node that just started may know an older state than its clients do.
		return nbd.Export{}, fmt.Errorf("volume %q is not known here yet: %w", name, disk.ErrClosed)
	}
	return nbd.Export{}, fmt.Errorf("volume %q: %w", name, errNoExport)
}

// groupOf is the group in an export's name.
func groupOf(name string) string {
	path, _, _ := strings.Cut(name, "@")
	group, _, _ := strings.Cut(path, "/")
	return group
}

// catchUp is how long after its start a node may not know the newest state yet.
const catchUp = 10 * time.Second

// checkGeneration returns the token of a user of a group. A VM's disks are open
// to its current generation on the node where it is placed, and to nobody else. The
// citizens' volume is open to its user for as long as this node leads it without a break.
func checkGeneration(st *cluster.State, g cluster.Group, gen string, given bool, s *Service) (uint64, error) {
	current, placed := uint64(0), false
	for _, vm := range st.VMs {
		if vm.Group == g.ID {
			current, placed = max(current, vm.Generation), placed || vm.Node == s.node.Self
		}
	}
	if !given {
		if current != 0 {
			return 0, fmt.Errorf("%w: it is the disk of a VM; its generation is needed", errNoExport)
		}
		if st.Service.Group == g.ID {
			return s.leadsSince(g.ID), nil
		}
		return 0, nil
	}
	n, err := strconv.ParseUint(gen, 10, 64)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: generation %.20q", errNoExport, gen)
	case n > current:
		return 0, fmt.Errorf("generation %d is not known here yet: %w", n, disk.ErrClosed)
	case n < current || !placed:
		return 0, fmt.Errorf("%w: generation %d is fenced", errNoExport, n)
	}
	return n, nil
}

// leadsSince is the token of a local group's user now.
func (s *Service) leadsSince(id ident.Group) uint64 {
	st, _ := s.engine.Status()
	for _, g := range st.Groups {
		if g.ID == id {
			return uint64(g.Since)
		}
	}
	return 0
}

func (s *Service) current() *cluster.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}
