//go:build mutant_drop_unknown

package mirror

func init() { mutant.dropUnknown = true }
