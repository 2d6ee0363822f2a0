package mirror

// Each wrong rule below stands behind a build tag of its own (mutant_NAME, in
// mutant_NAME.go) that a mutation run turns on: the general checkers of the
// simulation must turn red for every one of them. In a normal build all are
// false and nothing can set them.
type mutation struct {
	ackBeforeDurable     bool // the follower acks what it received
	ackSoloBeforeVote    bool // the primary acks alone as soon as it asked to
	promoteOutside       bool // a replica outside the set seeks promotion
	clearDirtyOnReturn   bool // a returning peer is believed to be clean
	skipGrowWait         bool // the peer joins the set before it holds everything
	forgetDiscarded      bool // the discarded tail does not join the resync set
	readUncommitted      bool // reads show pending writes
	acceptOldEpoch       bool // records and lease requests of old epochs are accepted
	readWithoutLease     bool // the primary of two reads without a lease
	serveBeforeCommitted bool // a new primary serves before its tail is committed
	dropUnknown          bool // a state older than a group is taken for its deletion
	blankByDifference    bool // a blank replica is taken up to date by difference
	forgetCopies         bool // recovery discards copies that counted in life
	forgetIncomplete     bool // a replica does not remember that a full resync never ended
	anyReign             bool // a local group's user of an older reign is let in
}

var mutant mutation
