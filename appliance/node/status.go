package node

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/raftnode"
	"beffroi.dev/pkg/quorum/timekeeper"
	"beffroi.dev/pkg/transport"
)

const (
	// silentAfter is the age of a report after which its service counts as silent.
	silentAfter = 5 * time.Second
	// fullPercent of free space is what is left when a store counts as full.
	fullPercent = 2
)

// whole is everything that the status is made of.
type whole struct {
	cfg     *config.Node
	now     clock.Instant
	wall    time.Time
	state   *cluster.State
	vote    raftnode.Status
	vouched bool
	paths   []transport.PathStatus
	reports seen
	order   control.Order
	cables  []status.Cable
	verdict timekeeper.Verdict
	init    *status.Clock // nil: nobody could have set it
	// services as init sees them; empty where there is none.
	services  []status.Service
	stateFull bool // the file system of the state folder
}

// compose makes the node's status. It is pure.
func compose(w *whole) status.Node {
	me := w.cfg.Me()
	n := status.Node{
		Name: me.Name, ID: me.ID, Kind: string(me.Kind), Site: me.Site, Profile: w.cfg.Profile, Time: w.wall,
		Address: w.order.Address, Links: []status.Link{}, Groups: []status.Group{}, AllVMs: []status.PlacedVM{}, Events: []status.Event{},
		Votes: status.Votes{
			Role: fmt.Sprint(w.vote.Standing.Role), Leader: w.vote.Standing.Leader, Term: w.vote.Standing.Term, Index: w.vote.Applied,
			Vouched: w.vouched, VouchedMS: w.vote.Vouched.Milliseconds(),
		},
	}
	if w.vote.Vouched < 0 {
		n.Votes.VouchedMS = -1
	}
	for _, p := range w.paths {
		n.Links = append(n.Links, status.Link{
			Peer: p.Peer, Path: p.Path, Kind: "vote", Up: p.Up, RoundTripUS: p.RoundTrip.Microseconds(),
			BytesIn: p.BytesIn, BytesOut: p.BytesOut, Reason: p.Reason,
		})
	}
	if b := w.reports.block; b.ever {
		part := b.part
		part.Age = b.age(w.now).Milliseconds()
		n.Store = &part
		n.Links = append(n.Links, part.Links...)
	}
	if c := w.reports.citizen; c.ever {
		part := c.part
		part.Age = c.age(w.now).Milliseconds()
		n.Citizen = &part
	}
	n.VMs, n.Cables, n.Services = w.reports.vm.part, w.cables, w.services
	n.Clock, n.WrongMS = w.init, w.verdict.By.Milliseconds()
	n.Members = members(w, n.Links)
	voted(&n, w.state)
	n.Problem = problems(w, &n)
	return n
}

func members(w *whole, links []status.Link) []status.Member {
	all := make([]status.Member, 0, len(w.cfg.Members))
	for _, m := range w.cfg.Members {
		up := m.ID == w.cfg.Self || slices.ContainsFunc(links, func(l status.Link) bool { return l.Peer == m.ID && l.Up })
		all = append(all, status.Member{ID: m.ID, Name: m.Name, Kind: string(m.Kind), Site: m.Site, Up: up})
	}
	return all
}

// voted adds what the voters agree on, in the order of identities.
func voted(n *status.Node, s *cluster.State) {
	for _, id := range slices.Sorted(maps.Keys(s.Groups)) {
		g := s.Groups[id]
		c := g.Config
		out := status.Group{
			ID: id, Name: g.Name, Primary: c.Primary, Preferred: g.Preferred, InSync: c.InSync, Epoch: c.Epoch, Citizen: s.Service.Group == id,
		}
		for _, v := range g.Volumes {
			out.Volumes = append(out.Volumes, status.Volume{ID: v.ID, Name: v.Name, Size: v.SizeBytes})
		}
		n.Groups = append(n.Groups, out)
	}
	for _, id := range slices.Sorted(maps.Keys(s.VMs)) {
		v := s.VMs[id]
		n.AllVMs = append(n.AllVMs, status.PlacedVM{
			ID: id, Name: v.Name, Group: v.Group, CPUs: v.CPUs, MemoryMB: v.MemoryMB, Run: v.Run, Cards: v.Addresses(), Node: v.Node, Generation: v.Generation,
		})
	}
	for _, e := range s.Events {
		out := status.Event{No: e.No, Time: time.UnixMilli(e.WallMS).UTC(), Kind: e.Kind, Node: e.Node, Old: e.Old, New: e.New, Cause: e.Cause}
		if e.Group != 0 { // one that was deleted keeps its number
			out.Group = cmp.Or(s.Groups[e.Group].Name, fmt.Sprintf("#%d", e.Group))
		}
		if e.VM != 0 {
			out.VM = cmp.Or(s.VMs[e.VM].Name, fmt.Sprintf("#%d", e.VM))
		}
		n.Events = append(n.Events, out)
	}
}

// severity orders the levels, worst first.
var severity = map[string]int{"error": 0, "warning": 1, "info": 2}

func problems(w *whole, n *status.Node) []status.Problem {
	all := []status.Problem{}
	add := func(level, code, object string) {
		all = append(all, status.Problem{Code: code, Level: level, Object: object})
	}
	if !n.Votes.Vouched {
		add("error", "no-majority", "")
	}
	for _, m := range n.Members {
		if !m.Up && m.Kind == string(cluster.KindWitness) {
			add("warning", "witness-silent", m.Name)
		} else if !m.Up {
			add("error", "twin-silent", m.Name)
		}
	}
	for _, l := range n.Links {
		i := slices.IndexFunc(n.Members, func(m status.Member) bool { return m.ID == l.Peer })
		if !l.Up && i >= 0 && n.Members[i].Up { // of a silent member all are down: once is enough
			add("warning", "link-down", fmt.Sprintf("%s to %s (%s)", l.Path, n.Members[i].Name, l.Kind))
		}
	}
	for _, g := range n.Groups {
		if len(g.InSync) == 1 {
			add("warning", "solo", g.Name)
		}
	}
	if w.stateFull {
		add("error", "state-full", n.Name)
	}
	for _, s := range n.Services {
		if s.Failing() {
			add(map[bool]string{true: "error", false: "warning"}[s.Down()], "service-failing", failing(s))
		}
	}
	clockProblems(w, n, add)
	cableProblems(n, add)
	storeProblems(w, n, add)
	guestProblems(w, n, add)
	slices.SortStableFunc(all, func(a, b status.Problem) int { return cmp.Compare(severity[a.Level], severity[b.Level]) })
	return all
}

// maxCause bounds the last words of a service in a problem.
const maxCause = 120

// failing names a service and what it said last.
func failing(s status.Service) string {
	cause := []rune(cmp.Or(s.Last, s.Said))
	if len(cause) == 0 {
		return s.Name
	}
	return s.Name + " (" + string(cause[:min(len(cause), maxCause)]) + ")"
}

func clockProblems(w *whole, n *status.Node, add func(level, code, object string)) {
	switch {
	case w.verdict.Wrong:
		add("warning", "clock-wrong", n.Name)
	case w.verdict.Differ:
		add("warning", "clocks-differ", "")
	}
	if n.Clock != nil && (n.Clock.Guess || n.Clock.Corrected != 0) {
		add("warning", "clock-corrected", n.Name)
	}
}

// grave are the faults of cables that may harm the town's network or the pair.
var grave = []string{"identity", "on-lan", "loop", "foreign"}

// cableProblems tells what is plugged wrong. A fibre that is dark, or on which nobody
// speaks, is a fault of its own only while the twin is there by another way.
func cableProblems(n *status.Node, add func(level, code, object string)) {
	twin := slices.ContainsFunc(n.Members, func(m status.Member) bool {
		return m.Up && m.ID != n.ID && m.Kind == string(cluster.KindNode)
	})
	for _, c := range n.Cables {
		for _, f := range c.Faults {
			level := "warning"
			switch {
			case slices.Contains(grave, f.Code):
				level = "error"
			case (f.Code == "no-carrier" || f.Code == "no-peer") && !twin:
				continue
			}
			object := cmp.Or(c.Role, c.Card)
			if c.Role != "" && c.Card != "" { // a role may lack its card
				object = c.Role + " (" + c.Card + ")"
			}
			add(level, "cable-"+f.Code, object)
		}
	}
}

func storeProblems(w *whole, n *status.Node, add func(level, code, object string)) {
	b := w.reports.block
	if !b.ever || b.age(w.now) > silentAfter {
		add("error", "store-silent", n.Name)
		return
	}
	if b.part.Failed != "" {
		add("error", "store-failed", n.Name)
	}
	if b.part.Capacity > 0 && b.part.Free < b.part.Capacity/100*fullPercent {
		add("error", "store-full", n.Name)
	}
	for _, g := range b.part.Groups {
		if g.Resync != nil && g.Resync.Running {
			add("info", "resync", groupName(w.state, g.ID))
		}
	}
}

func guestProblems(w *whole, n *status.Node, add func(level, code, object string)) {
	if vm := w.reports.vm; !vm.ever || vm.age(w.now) > silentAfter {
		add("warning", "vm-silent", n.Name)
	}
	for _, v := range n.VMs {
		switch v.State {
		case "paused-io":
			add("error", "vm-paused", v.Name)
		case "failed":
			add("error", "vm-failed", v.Name)
		}
	}
}

func groupName(s *cluster.State, id ident.Group) string {
	return cmp.Or(s.Groups[id].Name, fmt.Sprintf("#%d", id))
}
