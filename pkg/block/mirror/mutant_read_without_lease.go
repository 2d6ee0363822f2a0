//go:build mutant_read_without_lease

package mirror

func init() { mutant.readWithoutLease = true }
