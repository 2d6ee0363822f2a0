package casefile

import "errors"

// Role is what this node is for the citizen service, as the pair decided.
type Role struct {
	Serving bool   // this node holds the lease of the volume, now
	Copies  int    // sites that hold every acknowledged byte, now
	Epoch   uint64 // of the volume's configuration
	Reason  string // why it does not serve, for people
}

// ErrNotServing is returned when this node did not serve throughout the work:
// what was done may or may not count, and nothing may be acknowledged.
var ErrNotServing = errors.New("this node does not serve the citizens now")

// bothSites is the rule of the receipt: the same epoch and two copies on both
// sides of the commit.
func bothSites(before, after Role) bool {
	return before.Copies == 2 && after.Copies == 2 && before.Epoch == after.Epoch
}
