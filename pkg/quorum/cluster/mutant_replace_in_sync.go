//go:build mutant_replace_in_sync

package cluster

func init() { mutant.replaceInSync = true }
