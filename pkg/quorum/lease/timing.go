package lease

import (
	"errors"
	"fmt"
	"time"
)

// Timing is every time limit of the control plane, in one place so that their
// relations can be checked. Every published figure names its profile.
type Timing struct {
	Profile string

	// Tick drives the vote. A leader sends a heartbeat every HeartbeatTicks; a
	// voter without one for ElectionTicks, and up to twice that, campaigns.
	Tick           time.Duration
	HeartbeatTicks int
	ElectionTicks  int

	// PathPing and PathDead are the transport's: a path without a round trip for
	// PathDead is dead, and the mirror moves to the next.
	PathPing time.Duration
	PathDead time.Duration

	// Renew is the time between two rounds of renewal.
	Renew time.Duration
	// Lease is how long after a renewal a primary may read without asking (R6).
	Lease time.Duration
	// Grace is the silence after which an in-sync member seeks promotion. At
	// least Lease x (1 + Drift), so that the old primary no longer reads.
	Grace time.Duration
	// AddressDrop is how long after a renewal the service address is held.
	AddressDrop time.Duration
	// Fence is how long after a renewal guests are kept that have another home.
	// Restarting the node service takes less.
	Fence time.Duration
	// Margin is what a fence needs to do its work: kill, and if that fails let
	// the watchdog bite.
	Margin time.Duration
	// Settle is how long both members are well before a group returns to its
	// preferred site.
	Settle time.Duration
	// Drift is the largest difference in speed of two clocks.
	Drift float64
}

// Production is for real servers: the citizens are served again about 1.2 s
// after the serving node lost power, guests start after 6.2 s.
func Production() Timing {
	return Timing{
		Profile: "production", Tick: 50 * time.Millisecond, HeartbeatTicks: 2, ElectionTicks: 6,
		PathPing: 100 * time.Millisecond, PathDead: 400 * time.Millisecond,
		Renew: 100 * time.Millisecond, Lease: 400 * time.Millisecond, Grace: 500 * time.Millisecond,
		AddressDrop: 500 * time.Millisecond, Fence: 5 * time.Second, Margin: time.Second, Settle: time.Minute, Drift: 0.01,
	}
}

// Lab is for processes that share two processors with their own load: a pause
// of some hundred milliseconds there is the machine, not a fault.
func Lab() Timing {
	return Timing{
		Profile: "lab", Tick: 50 * time.Millisecond, HeartbeatTicks: 2, ElectionTicks: 10,
		PathPing: 100 * time.Millisecond, PathDead: 600 * time.Millisecond,
		Renew: 100 * time.Millisecond, Lease: 500 * time.Millisecond, Grace: 700 * time.Millisecond,
		AddressDrop: 500 * time.Millisecond, Fence: 3 * time.Second, Margin: time.Second, Settle: 10 * time.Second, Drift: 0.01,
	}
}

// Emulated is for whole machines under software emulation, some ten times
// slower than real ones.
func Emulated() Timing {
	return Timing{
		Profile: "emulated", Tick: 200 * time.Millisecond, HeartbeatTicks: 2, ElectionTicks: 10,
		PathPing: 500 * time.Millisecond, PathDead: 2500 * time.Millisecond,
		Renew: 500 * time.Millisecond, Lease: 2500 * time.Millisecond, Grace: 3500 * time.Millisecond,
		AddressDrop: 2500 * time.Millisecond, Fence: 15 * time.Second, Margin: 5 * time.Second, Settle: 30 * time.Second, Drift: 0.02,
	}
}

// Profile finds a profile by name.
func Profile(name string) (Timing, error) {
	for _, t := range []Timing{Production(), Lab(), Emulated()} {
		if t.Profile == name {
			return t, nil
		}
	}
	return Timing{}, fmt.Errorf("timing profile %.40q, use production, lab or emulated", name)
}

// LongestElection is the longest wait before a voter campaigns.
func (t Timing) LongestElection() time.Duration {
	return 2 * time.Duration(t.ElectionTicks) * t.Tick
}

// MoveAfter is the silence of a node after which its guests may start
// elsewhere: its fence has passed by the slowest clock, and has done its work.
func (t Timing) MoveAfter() time.Duration { return t.stretch(t.Fence) + t.Margin }

// stretch is how long d may take by the clock of another machine.
func (t Timing) stretch(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + t.Drift))
}

// Validate reports every relation that does not hold.
func (t Timing) Validate() error {
	var faults []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("timing: "+format, args...))
		}
	}
	want(t.Profile != "", "the profile has no name")
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"tick", t.Tick}, {"path ping", t.PathPing}, {"renew", t.Renew}, {"margin", t.Margin}, {"settle", t.Settle}} {
		want(f.d > 0, "%s is %v, want more than zero", f.name, f.d)
	}
	want(t.Drift >= 0 && t.Drift <= 0.1, "drift %v, want 0 to 0.1", t.Drift)
	want(t.HeartbeatTicks >= 1 && t.ElectionTicks >= 3*t.HeartbeatTicks,
		"election after %d ticks, want at least three heartbeats of %d, so that two may be lost", t.ElectionTicks, t.HeartbeatTicks)
	want(t.PathDead >= 3*t.PathPing, "path dead after %v, want at least three pings of %v", t.PathDead, t.PathPing)
	want(t.Lease >= 3*t.Renew, "lease %v, want at least three renewals of %v, so that two may be lost", t.Lease, t.Renew)
	want(t.AddressDrop >= 3*t.Renew, "address drop %v, want at least three renewals of %v", t.AddressDrop, t.Renew)
	want(t.Grace >= t.stretch(t.Lease), "grace %v, want at least the lease with drift, %v (R6)", t.Grace, t.stretch(t.Lease))
	want(t.Grace > t.PathDead, "grace %v, want more than path dead, %v: the living primary goes solo first", t.Grace, t.PathDead)
	want(t.Fence >= 2*t.AddressDrop, "fence %v, want at least twice the address drop, %v", t.Fence, t.AddressDrop)
	want(t.Fence >= 2*t.LongestElection(), "fence %v, want at least two of the longest elections, %v: a vote must kill no guest", t.Fence, t.LongestElection())
	want(t.Margin >= t.Fence/10, "margin %v, want at least a tenth of the fence, %v", t.Margin, t.Fence)
	return errors.Join(faults...)
}
