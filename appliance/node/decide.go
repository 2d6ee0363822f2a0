package node

import (
	"slices"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
)

// sight is everything that an order is made of.
type sight struct {
	timing  lease.Timing
	now     clock.Instant
	state   *cluster.State
	self    ident.Node
	vouched clock.Instant
	ever    bool // a majority has vouched in this life
	silence map[ident.Node]time.Duration
	quiet   map[ident.Node]time.Duration
	reports seen
	held    map[ident.VM]uint64
	holds   bool // the newest order holds the service address
}

// within reports whether a majority vouched for this node not longer ago than d.
func (s *sight) within(d time.Duration) bool { return s.ever && s.now.Sub(s.vouched) < d }

// decide makes the order, without its serial, and the claims to be proposed. It
// is pure.
func decide(s *sight) (control.Order, []cluster.PlaceVM) {
	t := s.timing
	v := lease.View{
		// One renewal early, so that the citizen service can let go by itself before
		// init kills it for holding on.
		Vouched: s.within(t.AddressDrop - t.Renew),
		Silence: s.silence, Quiet: s.quiet,
		Groups: map[ident.Group]lease.GroupView{}, VMs: map[ident.VM]lease.VMView{},
	}
	for id, g := range s.state.Groups {
		own, ok := s.reports.local(id, s.now, t.AddressDrop)
		view := lease.GroupView{Fit: ok && s.reports.block.part.Failed == ""}
		if ok && (own.Serving || s.keeps(g, own)) {
			// The mirror knows what it may serve, and hears of a new epoch a moment
			// before or after this service; the address must not blink for that.
			view.Confirmed = g.Config.Epoch
		}
		v.Groups[id] = view
	}
	for id, g := range s.held {
		v.VMs[id] = lease.VMView{Claimed: g}
	}
	for _, m := range s.reports.vm.part {
		v.VMs[m.ID] = lease.VMView{Running: alive(m), Claimed: s.held[m.ID]}
	}
	d := lease.Decide(t, s.state, s.self, v)
	order := control.Order{Vouched: s.within(t.AddressDrop), Run: []control.VMOrder{}}
	if own, ok := s.reports.local(s.state.Service.Group, s.now, t.AddressDrop); ok {
		order.Address = d.Address && (own.Readable || s.keeps(s.state.Groups[own.ID], own))
	}
	for _, id := range d.Run {
		order.Run = append(order.Run, control.VMOrder{VM: id, Generation: s.held[id]})
	}
	if !order.Vouched || !s.reports.vm.ever {
		return order, nil // nobody would decide it, or it may run already
	}
	return order, d.Claims
}

// keeps tells that this node, which holds the service address, keeps it although the
// mirror may not answer now: a member has left or returns, and the same primary waits
// for its new epoch or its lease. The citizen service holds requests meanwhile, which is
// shorter than to close the volume and open it again. It gives the address up when
// another leads, or has led.
func (s *sight) keeps(g cluster.Group, own status.LocalGroup) bool {
	return s.holds && g.ID == s.state.Service.Group && own.Since != 0 && g.Config.Epoch <= own.Epoch+1
}

// exposed lists the VMs that the fence must kill: those placed here, and those
// that run here whatever the vote says, if another node may be promoted for them.
func exposed(s *cluster.State, self ident.Node, r seen) []ident.VM {
	ids := lease.Exposed(s, self)
	for _, m := range r.vm.part {
		if alive(m) && mayMove(s, self, m.ID) {
			ids = append(ids, m.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// mayMove reports whether another node may come to run the VM, or runs it.
func mayMove(s *cluster.State, self ident.Node, id ident.VM) bool {
	c := s.Groups[s.VMs[id].Group].Config
	return len(c.InSync) != 1 || c.InSync[0] != self
}
