// Package seglog is the node's log: one append-only sequence of frames in
// segments of a device, with group commit, checkpoints and recovery.
//
// # What it owns
//
// The device of a store: two superblocks, two checkpoint slots, and segments
// (FORMAT.md). It knows frames and where they lie; what records mean belongs to
// its user, which keeps the state that a checkpoint saves.
//
// # Group commit
//
// There is no timer. Append queues records; Next builds one frame of all that
// was queued, and there is at most one frame in flight. What arrives meanwhile
// waits for the next frame. So a single writer pays one write's latency, and
// many share it.
//
// # Promises
//
// A frame is either wholly there after a power cut or not there at all. Since
// one frame is in flight at a time, only the last one can be torn: a damaged
// frame that has a successor is corruption, reported by Open as ErrCorrupt, and
// never cut off. A store of another pair, of a newer format, or without an
// intact superblock is refused and left untouched.
//
// Log does no I/O of its own after Open: Next returns what is to be written,
// and the engine (or the simulator) writes it and calls Done. It is owned by
// one goroutine.
package seglog
