// Package volume is the engine of the mirror and the face that others use: a
// Volume is a disk.Queue that is kept on both nodes.
//
// Engine owns a mirror.Core and lets one goroutine at a time work on it: the one
// that has the turn. Requests, messages, finished I/O, configurations and ticks
// are put into a mailbox; who finds nobody at work takes the turn and empties it,
// in batches. What Core asks for is handed to a writer, some readers, the
// transport, and whoever votes. The engine decides nothing.
//
// It promises that a request's Done is called exactly once, also when the engine
// stops (with disk.ErrClosed), and that no goroutine outlives Close.
package volume
