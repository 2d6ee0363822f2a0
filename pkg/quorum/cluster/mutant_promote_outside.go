//go:build mutant_promote_outside

package cluster

const promoteOutside = true
