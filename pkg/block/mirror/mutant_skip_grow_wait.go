//go:build mutant_skip_grow_wait

package mirror

func init() { mutant.skipGrowWait = true }
