//go:build mutant_serve_before_committed

package mirror

func init() { mutant.serveBeforeCommitted = true }
