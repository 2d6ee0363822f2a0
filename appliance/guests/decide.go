package guests

import (
	"slices"

	"beffroi.dev/appliance/control"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// Action is what is to be done with a machine now.
type Action string

// The actions.
const (
	Leave    Action = "leave"     // nothing to do, or not enough is known
	Keep     Action = "keep"      // it runs and may
	Start    Action = "start"     // under the ordered generation
	Place    Action = "place"     // ask the vote for a new generation
	ShutDown Action = "shut down" // by its power button, then by force
	Withdraw Action = "withdraw"  // kill it, unless an order comes within the grace
	Kill     Action = "kill"      // at once
	Forget   Action = "forget"    // remove its folder
)

// Here is what this node knows of a machine by itself.
type Here struct {
	VM         ident.VM // zero: a folder without a readable record
	Alive      bool
	Generation uint64 // under which it was started last; 0: never, or not known
}

// wanted finds the machine of a name: the VM of that name, or else the one of the
// record.
func wanted(s *cluster.State, name string) (cluster.VM, bool) {
	for _, v := range s.VMs {
		if v.Name == name {
			return v, true
		}
	}
	return cluster.VM{}, false
}

// Decide says what to do with the machine of a name on the node self. A nil state
// or order is one that was not heard yet.
func Decide(self ident.Node, s *cluster.State, o *control.Order, name string, h Here) Action {
	if s == nil || o == nil {
		return Leave
	}
	v, known := wanted(s, name)
	switch {
	case h.VM != 0 && known && v.ID != h.VM, !known:
		// The VM of the folder is gone; one of that name may have come since.
		if h.VM >= s.Next.VM {
			return Leave // of a newer state than the one at hand
		}
		if h.Alive {
			return Kill
		}
		return Forget
	case h.Generation > v.Generation:
		return Leave // the same
	}
	i := slices.IndexFunc(o.Run, func(r control.VMOrder) bool { return r.VM == v.ID })
	ordered := i >= 0 && o.Run[i].Generation == v.Generation && v.Node == self
	switch {
	case h.Alive && h.Generation < v.Generation:
		return Kill
	case h.Alive && ordered:
		return Keep
	case h.Alive && !v.Run:
		return ShutDown
	case h.Alive && i >= 0:
		return Leave // the order and the state are not of one moment
	case h.Alive:
		return Withdraw
	case !ordered || !v.Run:
		return Leave
	case h.Generation < v.Generation:
		return Start
	}
	return Place
}
