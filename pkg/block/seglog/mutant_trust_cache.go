//go:build mutant_trust_cache

package seglog

func init() { mutant.trustCache = true }
