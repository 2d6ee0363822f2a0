//go:build !mutant_promote_outside

package cluster

// promoteOutside is a wrong rule, true only in the build that checks that the
// suites notice it: a node outside the in-sync set may promote itself.
const promoteOutside = false
