package mirror

import (
	"errors"
	"fmt"
	"time"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/ident"
)

// Timing holds the intervals of the mirror. All are of the monotonic clock.
type Timing struct {
	Heartbeat time.Duration // a primary greets its peer this often, which renews its leases
	Lease     time.Duration // how long a granted lease lets the primary read, from the moment it asked
	Grace     time.Duration // how long a peer that granted a lease keeps from seeking promotion
	Shrink    time.Duration // without a session for this long, the primary seeks to go on alone
	Evict     time.Duration // with a session but no progress for this long, likewise
	Settle    time.Duration // a returning peer is invited after its session has stood this long
	Retry     time.Duration // an open proposal is made again this often
	Hold      time.Duration // an undecided request is answered with disk.ErrTimeout after this long
}

// Validate reports every fault of the timing at once.
func (t Timing) Validate() error {
	var errs []error
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"heartbeat", t.Heartbeat}, {"lease", t.Lease}, {"grace", t.Grace}, {"shrink", t.Shrink}, {"evict", t.Evict}, {"retry", t.Retry}, {"hold", t.Hold}} {
		if f.d <= 0 {
			errs = append(errs, fmt.Errorf("%s must be positive", f.name))
		}
	}
	if t.Settle < 0 {
		errs = append(errs, errors.New("settle must not be negative"))
	}
	if t.Lease <= t.Heartbeat {
		errs = append(errs, fmt.Errorf("lease (%v) must be longer than the heartbeat (%v)", t.Lease, t.Heartbeat))
	}
	// Two clocks may drift apart by this share while a lease runs: far more than
	// a quartz does (0.02 %), and enough for a badly slewed virtual one.
	if t.Grace < t.Lease+t.Lease/10 {
		errs = append(errs, fmt.Errorf("grace (%v) must be at least 1.1 times the lease (%v)", t.Grace, t.Lease))
	}
	return errors.Join(errs...)
}

// Config names the two nodes.
type Config struct {
	Self, Peer ident.Node
	Timing     Timing
	// SaveEvery is after how many frames the state is saved, so that recovery
	// reads no more than about that many. 0 takes DefaultSaveEvery.
	SaveEvery uint64
}

// DefaultSaveEvery bounds recovery to a few seconds on a commodity disk.
const DefaultSaveEvery = 4096

// Validate reports every fault at once.
func (c Config) Validate() error {
	var errs []error
	if c.Self == 0 || c.Peer == 0 || c.Self == c.Peer {
		errs = append(errs, errors.New("self and peer must be two nodes"))
	}
	return errors.Join(append(errs, c.Timing.Validate())...)
}

// VolumeSpec is one volume of a group.
type VolumeSpec struct {
	ID   ident.Volume
	Size int64 // bytes
}

// GroupSpec is what the vote decided about a group.
type GroupSpec struct {
	ID      ident.Group
	Volumes []VolumeSpec
	Conf    frame.Conf
	// Token fences writers: a request with a lower one is refused with
	// disk.ErrClosed, here and when it is forwarded, and one with a higher one
	// waits until that token is known here. It is the generation of the VM whose
	// disks these are, so that a guest that was declared dead writes no more.
	// Zero fences nothing.
	Token uint64
	// Local refuses requests on a node that does not lead the group, instead of
	// forwarding them: its user moves with the primary. Its token is the epoch since
	// which this node leads without a break (GroupStatus.Since): a user that slept while
	// another node led reads and writes no more.
	Local bool
}

// Proposal asks the vote for a new configuration. It is refused unless the
// group's epoch is still Base.
type Proposal struct {
	Group ident.Group
	Base  ident.Epoch
	Kind  ProposalKind
	Conf  frame.Conf // Epoch is Base+1
}

// ProposalKind says which rule the proposal stands on.
type ProposalKind string

// The kinds of proposals.
const (
	Shrink  ProposalKind = "shrink"  // R3
	Grow    ProposalKind = "grow"    // R4
	Promote ProposalKind = "promote" // R5
	Switch  ProposalKind = "switch"  // planned: the primary hands over
	Restart ProposalKind = "restart" // the primary starts again after it died
)

// Outcome is what became of a proposal.
type Outcome int

// The outcomes.
const (
	Unknown Outcome = iota // no answer: it may or may not be chosen
	Chosen                 // the new configuration will be learned
	Stale                  // another configuration was chosen first
	Refused                // against the rules; it will never be chosen
)
