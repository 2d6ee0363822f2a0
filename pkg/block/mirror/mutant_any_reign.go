//go:build mutant_any_reign

package mirror

func init() { mutant.anyReign = true }
