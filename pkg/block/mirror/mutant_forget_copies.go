//go:build mutant_forget_copies

package mirror

func init() { mutant.forgetCopies = true }
