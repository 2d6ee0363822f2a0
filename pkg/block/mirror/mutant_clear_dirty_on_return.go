//go:build mutant_clear_dirty_on_return

package mirror

func init() { mutant.clearDirtyOnReturn = true }
