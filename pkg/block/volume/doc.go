// Package volume is the engine of the mirror and the face that others use: a
// Volume is a disk.Queue that is kept on both nodes.
//
// Engine owns one loop goroutine, which owns a mirror.Core. Requests, messages,
// finished I/O, configurations and ticks are put into its mailbox and taken out
// in batches; what Core asks for is handed to a writer, some readers, the
// transport, and whoever votes. The engine decides nothing.
//
// It promises that a request's Done is called exactly once, also when the engine
// stops (with disk.ErrClosed), and that no goroutine outlives Close.
package volume
