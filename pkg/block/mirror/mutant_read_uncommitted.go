//go:build mutant_read_uncommitted

package mirror

func init() { mutant.readUncommitted = true }
