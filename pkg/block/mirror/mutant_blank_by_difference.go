//go:build mutant_blank_by_difference

package mirror

func init() { mutant.blankByDifference = true }
