//go:build mutant_ack_solo_before_vote

package mirror

func init() { mutant.ackSoloBeforeVote = true }
