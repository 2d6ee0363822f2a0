package rescue

import (
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
)

// fromStatus takes from the node's status what this console shows.
func fromStatus(n *status.Node) Pair {
	names := map[ident.Node]string{}
	p := Pair{Known: true, Self: n.Name, Site: n.Site, Vouched: n.Votes.Vouched}
	for _, m := range n.Members {
		names[m.ID] = m.Name
		p.Members = append(p.Members, Member{Name: m.Name, Site: m.Site, Witness: m.Kind == "witness", Self: m.ID == n.ID, Up: m.Up})
	}
	p.Leader = names[n.Votes.Leader]
	for _, l := range n.Links {
		p.link(Link{Path: l.Path, Peer: names[l.Peer], Up: l.Up, Data: l.Data})
	}
	resyncs := map[ident.Group]*Resync{}
	if s := n.Store; s != nil {
		p.Store = &Store{Age: ms(s.Age), Capacity: s.Capacity, Free: s.Free, Linked: s.Linked, Failed: s.Failed}
		for _, g := range s.Groups {
			if g.Resync != nil && g.Resync.Running {
				resyncs[g.ID] = &Resync{Percent: g.Resync.Percent(), Left: ms(g.Resync.LeftMS)}
			}
		}
	}
	for _, g := range n.Groups {
		out := Group{Name: g.Name, Citizen: g.Citizen, Primary: names[g.Primary], Resync: resyncs[g.ID]}
		for _, id := range g.InSync {
			out.InSync = append(out.InSync, names[id])
		}
		p.Groups = append(p.Groups, out)
	}
	here := map[ident.VM]status.VM{}
	for _, v := range n.VMs {
		here[v.ID] = v
	}
	for _, v := range n.AllVMs {
		p.VMs = append(p.VMs, VM{Name: v.Name, Node: names[v.Node], Run: v.Run, State: here[v.ID].State, Cause: here[v.ID].Cause})
	}
	p.Citizen = citizens(n, p.twin())
	for _, a := range n.Problem {
		p.Alarms = append(p.Alarms, Alarm{Code: a.Code, Object: a.Object})
	}
	for _, e := range n.Events {
		object := e.Group
		if e.VM != "" {
			object = e.VM
		} else if object == "" {
			object = names[e.Node]
		}
		p.Events = append(p.Events, Event{At: e.Time, Kind: e.Kind, Object: object, Text: e.Cause})
		if e.Kind == "place-vm" || e.Kind == "vm-run" {
			p.Events[len(p.Events)-1].New = e.New
		}
	}
	return p
}

// link adds a path. Votes and data are two sessions over one cable: what the reader
// can repair is the cable, so it is shown once, and down if one session is.
func (p *Pair) link(l Link) {
	for i := range p.Links {
		if o := &p.Links[i]; o.Path == l.Path && o.Peer == l.Peer {
			o.Up, o.Data = o.Up && l.Up, o.Data || l.Data
			return
		}
	}
	p.Links = append(p.Links, l)
}

func citizens(n *status.Node, twin Member) Citizen {
	c := n.Citizen
	if c == nil || ms(c.Age) > oldStore {
		return Citizen{Here: n.Address}
	}
	out := Citizen{Known: true, Copies: c.Copies, Cause: c.Cause, Here: n.Address}
	switch {
	case c.Serving:
		out.By = n.Name
	case c.Proxy && twin.Up:
		out.By, out.Copies = twin.Name, 0 // how many copies there are, only it knows
	}
	return out
}

// ms keeps a negative number negative: it means that nothing is known.
func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
