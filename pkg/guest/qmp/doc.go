// Package qmp speaks to the monitor of a running QEMU.
//
// A Monitor is one connection to one QEMU, from Open to Close or the end of the
// socket; who needs another one opens it (QEMU serves one client at a time). One
// goroutine reads: replies find their command by its number, events go to a
// bounded channel whose oldest entry gives way, so that a listener that sleeps
// delays nothing.
//
// The words are those of go-qemu: Monitor is a qmp.Monitor of that library, its
// events, commands and versions are that library's. Its socket monitor alone is
// not used, because it cannot be made safe from outside: it hands the scanner's
// buffer to another goroutine while the scanner goes on to overwrite it, its lines
// end at 64 KiB, an event that nobody reads blocks every reply, and a command has
// no deadline and holds the lock for ever.
//
// Promises: a command ends within its context or Config.Timeout, whichever is
// first; a late reply is dropped and never taken for that of another command.
// The package never retries a command.
package qmp
