// Package vm is the life of one virtual machine.
//
//	                  Start                    guest is there
//	stopped, failed -------> starting ------------------------> running
//	       ^                    |  QEMU ends                     |  ^
//	       |                    v                                |  | Resume
//	       |                  failed <--- QEMU ends by itself    |  |
//	       |                                            Pause    v  |
//	       |<---------- QEMU ends ---- shutting-down          paused
//	       |                              ^   |                  disk error
//	       |                     ShutDown |   | bound passed    running ---> paused-io
//	       |                              running                       <---
//	       +---- ForceOff, from anywhere                              Continue
//
// One goroutine owns a VM: it takes one event (a request, an event or the end of
// QEMU, a timer), applies it, and publishes a copy of the state. What may be asked
// when is decided by a Queue, which is pure.
//
// QEMU belongs to nobody: it runs in a session of its own, in a cgroup of its own
// where the machine allows, its sockets are its own and its output goes to files,
// so that it outlives a restart of this program. The state folder holds what is
// needed to find it again: run.json (process, its start time against reuse of the
// number, specification), qmp.sock, serial.sock, serial.log, qemu.log, and
// run.lock, whose lock QEMU itself inherits: as long as any QEMU of this VM lives,
// by whomever it was started, no second one can be.
//
// A VM may be Apart: its QEMU is a user of its own then, has no capability, and what it
// makes lies in the folder live, away from what names it. The supervisor needs SETUID,
// SETGID, CHOWN and KILL for that, and no more.
//
// A disk that answers with an error does not reach the guest: QEMU stops it and
// keeps its request, the state is paused-io, and Continue tries again. A VM that
// ignores its power button is reported and goes on; only ForceOff pulls the plug.
//
// The cards of a guest that was started are announced on their networks when it runs,
// in several rounds: it may have run elsewhere a moment ago, and switches send what is
// for it there.
//
// The package never decides where a VM runs, never restarts one by itself, and
// never touches a disk's content.
package vm
