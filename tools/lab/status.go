package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
)

// Status is what lab status --json prints. Names are those of the lab: a, b,
// witness.
type Status struct {
	Nodes   []NodeStatus   `json:"nodes"`
	Votes   VoteStatus     `json:"votes"`
	Volumes []VolumeStatus `json:"volumes"`
	VMs     []VMStatus     `json:"vms"`
	Citizen string         `json:"citizen_node"` // who serves citizens; empty: nobody
	Links   []linkState    `json:"links"`        // that are cut or shaped
}

// NodeStatus is one machine.
type NodeStatus struct {
	Name  string `json:"name"`
	State string `json:"state"` // running, paused, off
	PIDs  []int  `json:"pids"`
	Ready bool   `json:"ready"` // its services answer
}

// VoteStatus is the vote as the best informed node sees it.
type VoteStatus struct {
	Leader  string   `json:"leader"`
	Term    uint64   `json:"term"`
	Vouched []string `json:"vouched"` // data nodes that a majority vouches for
}

// VolumeStatus is one volume.
type VolumeStatus struct {
	Name    string   `json:"name"` // GROUP/VOLUME
	Size    int64    `json:"size_bytes"`
	Primary string   `json:"primary"`
	Epoch   uint64   `json:"epoch"`
	InSync  []string `json:"insync"`
	State   string   `json:"state"` // mirrored, solo, resync, waiting
	Resync  *Resync  `json:"resync,omitempty"`
}

// Resync is the progress of a resync.
type Resync struct {
	Percent     int   `json:"percent"`
	CopiedBytes int64 `json:"copied_bytes"`
	DirtyBytes  int64 `json:"dirty_bytes"`
	LeftMS      int64 `json:"left_ms"`
}

// VMStatus is one virtual machine.
type VMStatus struct {
	Name  string `json:"name"`
	Node  string `json:"node"`
	State string `json:"state"`
}

// survey asks every running node for its status.
func survey(ctx context.Context, lab Lab) map[string]status.Node {
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[string]status.Node{}
	for _, m := range lab.Nodes {
		if m.API == "" || power(m) != "running" {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			if s, err := askStatus(ctx, lab, m); err == nil {
				mu.Lock()
				seen[m.Name] = s
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	return seen
}

func askStatus(ctx context.Context, lab Lab, m Machine) (status.Node, error) {
	if m.Mode != "vm" {
		return control.NewClient(m.Control).Status(ctx)
	}
	r, err := newRemote(lab, m)
	if err != nil {
		return status.Node{}, err
	}
	return r.Status(ctx)
}

// gather makes the lab's status of what its machines say.
func gather(ctx context.Context, lab Lab) Status {
	seen := survey(ctx, lab)
	out := Status{Volumes: []VolumeStatus{}, VMs: []VMStatus{}, Links: []linkState{}}
	called := map[ident.Node]string{}
	var best status.Node
	for _, m := range lab.Nodes {
		called[m.ID] = m.Name
		s, ok := seen[m.Name]
		for _, v := range s.Members { // one that was replaced has another identity than in the plan
			called[v.ID] = v.Name
		}
		n := NodeStatus{Name: m.Name, State: power(m), PIDs: processes(m), Ready: ok || m.API == ""}
		if n.PIDs == nil {
			n.PIDs = []int{}
		}
		out.Nodes = append(out.Nodes, n)
		if !ok {
			continue
		}
		if s.Votes.Vouched {
			out.Votes.Vouched = append(out.Votes.Vouched, m.Name)
		}
		if s.Citizen != nil && s.Citizen.Serving {
			out.Citizen = m.Name
		}
		if best.ID == 0 || s.Votes.Index > best.Votes.Index {
			best = s
		}
	}
	out.Votes.Leader, out.Votes.Term = called[best.Votes.Leader], best.Votes.Term
	for _, g := range best.Groups {
		out.Volumes = append(out.Volumes, volumes(g, seen, called)...)
	}
	for _, vm := range best.AllVMs {
		v := VMStatus{Name: vm.Name, Node: called[vm.Node], State: "off"}
		for _, here := range seen[v.Node].VMs {
			if here.ID == vm.ID {
				v.State = here.State
			}
		}
		out.VMs = append(out.VMs, v)
	}
	return out
}

func volumes(g status.Group, seen map[string]status.Node, called map[ident.Node]string) []VolumeStatus {
	v := VolumeStatus{Primary: called[g.Primary], Epoch: uint64(g.Epoch), State: "waiting"}
	for _, n := range g.InSync {
		v.InSync = append(v.InSync, called[n])
	}
	if s := seen[v.Primary]; s.Store != nil {
		for _, l := range s.Store.Groups {
			if l.ID != g.ID || !l.Serving {
				continue
			}
			switch {
			case len(l.InSync) > 1:
				v.State = "mirrored"
			case l.Resync != nil && l.Resync.Running:
				v.State = "resync"
				v.Resync = &Resync{l.Resync.Percent(), l.Resync.CopiedBytes, l.Resync.DirtyBytes, l.Resync.LeftMS}
			default:
				v.State = "solo"
			}
		}
	}
	var out []VolumeStatus
	for _, vol := range g.Volumes {
		one := v
		one.Name, one.Size = g.Name+"/"+vol.Name, vol.Size
		out = append(out, one)
	}
	return out
}

func printStatus(w io.Writer, s Status, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tSTATE\tREADY")
	for _, n := range s.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%v\n", n.Name, n.State, n.Ready)
	}
	fmt.Fprintf(t, "\nvotes: leader %s, term %d, vouched for: %s\n", s.Votes.Leader, s.Votes.Term, strings.Join(s.Votes.Vouched, " "))
	fmt.Fprintln(t, "\nVOLUME\tSIZE\tPRIMARY\tEPOCH\tIN SYNC\tSTATE")
	for _, v := range s.Volumes {
		state := v.State
		if v.Resync != nil {
			state = fmt.Sprintf("resync %d %%, %d MB left", v.Resync.Percent, v.Resync.DirtyBytes>>20)
		}
		fmt.Fprintf(t, "%s\t%d MB\t%s\t%d\t%s\t%s\n", v.Name, v.Size>>20, v.Primary, v.Epoch, strings.Join(v.InSync, " "), state)
	}
	fmt.Fprintln(t, "\nVM\tNODE\tSTATE")
	for _, v := range s.VMs {
		fmt.Fprintf(t, "%s\t%s\t%s\n", v.Name, v.Node, v.State)
	}
	fmt.Fprintf(t, "\ncitizens are served by: %s\n", s.Citizen)
	for _, l := range s.Links {
		fmt.Fprintf(t, "link %s from %q: cut %v delay %s loss %v\n", l.Link, l.From, l.Cut, l.Delay, l.Loss)
	}
	return t.Flush()
}
