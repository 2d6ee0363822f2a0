package initramfs

import "embed"

// Source is this package's own source: what was made by other code is not kept
// between builds.
//
//go:embed *.go
var Source embed.FS
