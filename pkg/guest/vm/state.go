package vm

import "time"

// State is where a VM is in its life.
type State string

// The states.
const (
	Stopped      State = "stopped"
	Starting     State = "starting" // QEMU started or found again, its guest not yet seen
	Running      State = "running"
	Paused       State = "paused"    // by request
	PausedIO     State = "paused-io" // by QEMU, which holds a disk request that failed
	ShuttingDown State = "shutting-down"
	Failed       State = "failed" // stopped, and nobody asked for it
)

// maxHistory bounds the changes that are remembered: a day of ordinary life, or
// the last minutes of a bad one.
const maxHistory = 32

// Change is one step of a VM's life.
type Change struct {
	From, To State
	Cause    string
	At       time.Time
}

// Status is the published copy of a VM's state.
type Status struct {
	State   State
	Cause   string
	Since   time.Time
	PID     int      // of QEMU; 0 when there is none
	History []Change // oldest first
}

// off tells whether no QEMU is there.
func (s State) off() bool { return s == Stopped || s == Failed }
