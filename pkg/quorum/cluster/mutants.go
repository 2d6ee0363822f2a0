package cluster

// Each wrong rule below stands behind a build tag of its own, as those of package mirror
// do: the suites must notice it. In a normal build all are false and nothing can set them.
type mutation struct {
	promoteOutside bool // a node outside the in-sync set may promote itself
	replaceInSync  bool // a node is replaced although it is in sync
}

var mutant mutation
