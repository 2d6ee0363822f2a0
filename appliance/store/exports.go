package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/quorum/cluster"
)

// errNoExport is told to an NBD client as an unknown export.
var errNoExport = errors.New("no such volume")

// exports finds volumes by name in the newest voted state.
type exports struct{ s *Service }

// List names what can be opened without a generation or a reign.
func (e exports) List() []string {
	st := e.s.current()
	if st == nil {
		return nil
	}
	var names []string
	for _, g := range st.Groups {
		if g.ID == st.Service.Group {
			continue
		}
		for _, v := range g.Volumes {
			names = append(names, g.Name+"/"+v.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Open finds GROUP/VOLUME, GROUP/VOLUME@GENERATION or, of the citizens' group,
// GROUP/VOLUME@SINCE. A generation that is not known here yet closes the connection, so
// that the client tries again.
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
		var token uint64
		var err error
		if g.ID == st.Service.Group {
			token, err = checkReign(g, gen, given, e.s)
		} else {
			token, err = checkGeneration(st, g, gen, given, e.s)
		}
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

// reignBound is how long the engine may take to say who leads.
const reignBound = time.Second

// catchUp is how long after its start a node may not know the newest state yet.
const catchUp = 10 * time.Second

// checkGeneration returns the token of a user of a group. A VM's disks are open
// to its current generation on the node where it is placed, and to nobody else.
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

// checkReign returns the token of the citizens' service: the epoch since which this node
// leads their group without a break. The service names it, because a client that lost its
// connection connects again by itself: it must never be given a newer reign than the one
// in which it read what it keeps in its memory.
func checkReign(g cluster.Group, reign string, given bool, s *Service) (uint64, error) {
	if !given {
		return 0, fmt.Errorf("%w: only the citizens' service opens it, and says in which reign", errNoExport)
	}
	n, err := strconv.ParseUint(reign, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: reign %.20q", errNoExport, reign)
	}
	ctx, cancel := context.WithTimeout(context.Background(), reignBound)
	defer cancel()
	l, known, err := s.engine.Group(ctx, g.ID)
	switch {
	case err != nil:
		return 0, fmt.Errorf("reign %d: %w: %w", n, err, disk.ErrClosed)
	case known && n != 0 && uint64(l.Since) == n:
		return n, nil
	}
	return 0, fmt.Errorf("%w: this node does not lead since epoch %d", errNoExport, n)
}

func (s *Service) current() *cluster.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}
