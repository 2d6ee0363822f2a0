//go:build mutant_accept_old_epoch

package mirror

func init() { mutant.acceptOldEpoch = true }
