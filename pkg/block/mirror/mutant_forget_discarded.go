//go:build mutant_forget_discarded

package mirror

func init() { mutant.forgetDiscarded = true }
