//go:build mutant_promote_outside

package mirror

func init() { mutant.promoteOutside = true }
