//go:build mutant_promote_outside

package cluster

func init() { mutant.promoteOutside = true }
