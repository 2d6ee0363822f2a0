// Package supervise runs the services of a node as child processes and keeps
// them running.
//
//	            Start               READY=1
//	stopped ------------> starting ----------> ready
//	   ^  ^                  |   |               |  |
//	   |  |          too late|   | exit     exit |  | WATCHDOG=1 missing
//	   |  |          or Renew|   |               |  | or Renew
//	   |  |                  v   v               v  v
//	   |  |               failed --exit--> back-off (also straight from an exit)
//	   |  |                                   |
//	   |  +--------------Stop-----------------+---pause over---> starting
//	   |
//	   +--exit-- stopping <--Stop-- starting, ready, failed
//
// Machine is that diagram for one service: pure, told of events and of the time,
// and it says what to do. Supervisor is the engine: one loop owns all machines,
// and does what they say to real processes.
//
// A service is told of its parent by the sd_notify protocol (READY, STOPPING,
// STATUS, WATCHDOG, EXTEND_TIMEOUT_USEC over a datagram socket), so that it runs as well
// under a stock systemd, or by hand. One whose start takes long, as a store's recovery
// does, is not too late while it says that it gets on. It is asked to stop with SIGTERM, in the reverse of the
// order of starting, and killed when it takes too long. It is started again
// however often it fails, with pauses that grow to a bound: a node has nobody
// who would press a button. When the parent dies, by whatever signal, the kernel
// kills its services (PDEATHSIG); what a service starts in a session of its own,
// as QEMU is, lives on.
//
// A service may have a user, capabilities and a control group of its own; what it
// started dies with it then. Listening sockets are opened here once and handed to
// each of its lives (LISTEN_FDS, LISTEN_FDNAMES; LISTEN_PID is 0, because a process
// that is about to be started has no number yet): who connects between two lives
// waits for the next. A Quiet socket is handed bound but not listening; KillNow, which
// is a fence, ends the listening too.
//
// What the last life said at its end is kept: the name of a fault of Go's runtime, or
// its last line. Each service's output goes to a file of its own, bounded by rotation.
package supervise
