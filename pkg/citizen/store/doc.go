// Package store keeps the citizen service's database and its files on one raw
// volume, seen only as a disk.Device.
//
// It owns the layout of the volume (FORMAT.md), the SQLite file system seam
// over it, the schema with its migrations, and the allocation of space between
// the database and the blobs (photos, content-addressed by SHA-256).
//
// It promises: when Write returned nil, the transaction and every blob it keeps
// are durable through Device.Sync; after a power cut at any moment, Open finds
// every such transaction and no committed row whose blob is missing; a volume
// that is foreign, newer, damaged or blank is refused and left untouched; a
// full volume is an error that wraps disk.ErrNoSpace and leaves the database
// healthy; after a failed write or sync nothing succeeds until the volume is
// opened again.
//
// It never formats unless Format is called, never retries a failed sync, and
// keeps nothing of value outside the device: the WAL index (SQLite's shared
// memory) lies in a private folder and is thrown away at the next takeover.
//
// How a commit travels:
//
//	Write ── BEGIN IMMEDIATE ── f(tx) ── COMMIT
//	                                       │ SQLite appends frames to the log
//	                                       ▼
//	                            walFile: image in memory, blocks marked dirty
//	                                       │ xSync
//	                                       ▼
//	             dirty blocks ─► superblock, if a size changed ─► Device.Sync
package store
