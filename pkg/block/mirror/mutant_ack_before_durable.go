//go:build mutant_ack_before_durable

package mirror

func init() { mutant.ackBeforeDurable = true }
