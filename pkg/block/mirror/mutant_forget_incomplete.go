//go:build mutant_forget_incomplete

package mirror

func init() { mutant.forgetIncomplete = true }
