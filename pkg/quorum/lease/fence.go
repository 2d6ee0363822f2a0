package lease

import (
	"maps"
	"math"
	"slices"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// Fence is what executes the limits: it is told of renewals and knows what has
// passed. It stays valid across a restart of whoever renews it, because it
// holds nothing but an instant of the machine's own clock.
type Fence struct {
	timing  Timing
	vouched clock.Instant
	armed   bool
}

// NewFence is passed until it is first renewed.
func NewFence(t Timing) *Fence { return &Fence{timing: t} }

// Renew says that a majority vouches for this node since an instant; earlier
// ones than known change nothing.
func (f *Fence) Renew(vouched clock.Instant) {
	if !f.armed || vouched > f.vouched {
		f.vouched, f.armed = vouched, true
	}
}

// Passed reports whether guests that have another home must be dead.
func (f *Fence) Passed(now clock.Instant) bool {
	return !f.armed || now >= f.vouched.Add(f.timing.Fence)
}

// AddressPassed reports whether the service address must be gone, unless this
// node is its only possible home.
func (f *Fence) AddressPassed(now clock.Instant) bool {
	return !f.armed || now >= f.vouched.Add(f.timing.AddressDrop)
}

// Deadline is when guests with another home must be dead; false: already.
func (f *Fence) Deadline() (clock.Instant, bool) { return f.vouched.Add(f.timing.Fence), f.armed }

// ReadUntil says until when a primary may answer reads (R6): every other
// in-sync member has answered a renewal that was sent less than Lease before.
// Without other members there is nobody to be promoted, and no limit (R7). The
// instant is compared after the read, just before the reply.
func ReadUntil(t Timing, c cluster.Config, self ident.Node, answered func(ident.Node) (clock.Instant, bool)) (until clock.Instant, limited bool) {
	for _, n := range c.InSync {
		if n == self {
			continue
		}
		sent, ok := answered(n)
		if !ok {
			return math.MinInt64, true
		}
		if u := sent.Add(t.Lease); !limited || u < until {
			until = u
		}
		limited = true
	}
	return until, limited
}

// Exposed lists the VMs placed on a node that another node may be promoted for:
// those that the fence kills. A group whose only member is the node itself has
// no other home, and its guests go on without votes (R7).
func Exposed(s *cluster.State, self ident.Node) []ident.VM {
	var ids []ident.VM
	for _, id := range slices.Sorted(maps.Keys(s.VMs)) {
		v := s.VMs[id]
		if v.Node == self && !alone(s.Groups[v.Group].Config, self) {
			ids = append(ids, id)
		}
	}
	return ids
}

// AddressExposed reports whether another node may come to hold the service.
func AddressExposed(s *cluster.State, self ident.Node) bool {
	return !alone(s.Groups[s.Service.Group].Config, self)
}

// alone reports whether n is the only member of the in-sync set.
func alone(c cluster.Config, n ident.Node) bool { return len(c.InSync) == 1 && c.InSync[0] == n }
