// Package extent maps the blocks of a volume to places on this node's device.
//
// A Map tells for each 4 KiB block where its committed content lies and what
// its checksum is. It is updated on commit only. A snapshot of a Map costs one
// small copy: pages are shared and copied when either side changes them, so a
// checkpoint, and later a snapshot of the volume, is taken while writes go on.
//
// A Map is owned by one goroutine; a snapshot may be read by another.
package extent
