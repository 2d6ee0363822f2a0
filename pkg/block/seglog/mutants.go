package seglog

// Each wrong rule below stands behind a build tag of its own, as those of package mirror
// do: the suites must notice it. In a normal build all are false and nothing can set them.
type mutation struct {
	trustCache bool // what recovery reads is taken for durable
}

var mutant mutation
