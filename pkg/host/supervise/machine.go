package supervise

import (
	"errors"
	"fmt"
	"time"

	"beffroi.dev/pkg/clock"
)

// State is where a service is in its life.
type State string

// The states; the package comment has the diagram.
const (
	Stopped  State = "stopped"
	Starting State = "starting"
	Ready    State = "ready"
	Stopping State = "stopping"
	Failed   State = "failed"   // told to die and to be started again, not dead yet
	BackOff  State = "back-off" // waits to be started again
)

// Event is something that happened to a service.
type Event int

// The events. Tick only lets time pass.
const (
	Tick       Event = iota
	Start            // it is wanted
	Stop             // it is not wanted any more
	Renew            // it is wanted anew: it ends in order, and is started again
	SaidReady        // READY=1
	SaidAlive        // WATCHDOG=1
	SaidBusy         // EXTEND_TIMEOUT_USEC: its start makes progress
	SaidEnding       // STOPPING=1: it stops by itself and pings no more
	Exited           // its process ended, or could not be started
)

// Action is what the engine must do after an event.
type Action int

// The actions.
const (
	Nothing   Action = iota
	Spawn            // start the process
	Terminate        // SIGTERM
	Kill             // SIGKILL
)

// Limits are the times of a service's life.
type Limits struct {
	Ready    time.Duration // from its start to READY=1, or from one sign of progress to the next
	Watchdog time.Duration // between two WATCHDOG=1; 0: not watched
	Stop     time.Duration // from SIGTERM to SIGKILL
	PauseMin time.Duration // before it is started again the first time
	PauseMax time.Duration
	Stable   time.Duration // ready for this long, its failures are forgotten
}

// DefaultLimits suit a service that is ready within seconds. The first restart
// is quick, because the service's absence is what citizens and guests feel.
func DefaultLimits() Limits {
	return Limits{
		Ready: 30 * time.Second, Watchdog: 10 * time.Second, Stop: 10 * time.Second,
		PauseMin: 50 * time.Millisecond, PauseMax: 5 * time.Second, Stable: 10 * time.Second,
	}
}

// Validate reports all faults.
func (l Limits) Validate() error {
	var faults []error
	if l.Ready <= 0 || l.Stop <= 0 || l.PauseMin <= 0 || l.Stable <= 0 {
		faults = append(faults, errors.New("limits: ready, stop, shortest pause and stable want more than zero"))
	}
	if l.PauseMax < l.PauseMin {
		faults = append(faults, fmt.Errorf("limits: longest pause %v below the shortest, %v", l.PauseMax, l.PauseMin))
	}
	if l.Watchdog < 0 {
		faults = append(faults, fmt.Errorf("limits: watchdog %v, want zero or more", l.Watchdog))
	}
	return errors.Join(faults...)
}

// Machine is the life of one service. The zero value is not usable.
type Machine struct {
	limits   Limits
	state    State
	due      clock.Instant // when something is to happen by itself
	hasDue   bool
	pause    time.Duration // before the next start
	since    clock.Instant // when it became ready
	failures int           // in a row
}

// NewMachine begins stopped.
func NewMachine(l Limits) *Machine { return &Machine{limits: l, state: Stopped, pause: l.PauseMin} }

// State is the present state.
func (m *Machine) State() State { return m.state }

// Failures counts the failures in a row.
func (m *Machine) Failures() int { return m.failures }

// Step applies one event and says what to do. An event that has no arrow in the
// diagram changes nothing.
func (m *Machine) Step(now clock.Instant, e Event) Action {
	switch e {
	case Start:
		if m.state == Stopped {
			return m.spawn(now)
		}
	case Stop:
		return m.stop(now)
	case Renew:
		return m.renew(now)
	case SaidReady:
		if m.state == Starting {
			m.state, m.since = Ready, now
			m.watch(now)
		}
	case SaidAlive:
		if m.state == Ready {
			m.watch(now)
		}
	case SaidBusy:
		if m.state == Starting {
			m.wait(now, m.limits.Ready)
		}
	case SaidEnding:
		if m.state == Ready {
			m.wait(now, m.limits.Stop)
		}
	case Exited:
		m.exited(now)
	case Tick:
		return m.tick(now)
	}
	return Nothing
}

// Forgive moves what is due later, after a time in which the parent itself did
// not run: the service may have stood still too, or have spoken unheard.
func (m *Machine) Forgive(gap time.Duration) {
	if m.hasDue && (m.state == Starting || m.state == Ready) {
		m.due = m.due.Add(gap)
	}
}

func (m *Machine) wait(now clock.Instant, d time.Duration) { m.due, m.hasDue = now.Add(d), true }

func (m *Machine) watch(now clock.Instant) {
	if m.hasDue = m.limits.Watchdog > 0; m.hasDue {
		m.due = now.Add(m.limits.Watchdog)
	}
}

func (m *Machine) spawn(now clock.Instant) Action {
	m.state = Starting
	m.wait(now, m.limits.Ready)
	return Spawn
}

func (m *Machine) stop(now clock.Instant) Action {
	switch m.state {
	case BackOff:
		m.state, m.hasDue = Stopped, false
	case Starting, Ready, Failed:
		m.state = Stopping
		m.wait(now, m.limits.Stop)
		return Terminate
	}
	return Nothing
}

func (m *Machine) renew(now clock.Instant) Action {
	if m.state != Starting && m.state != Ready {
		return Nothing // it has no process, or that ends already
	}
	m.forget(now)
	m.state = Failed
	m.wait(now, m.limits.Stop)
	return Terminate
}

func (m *Machine) exited(now clock.Instant) {
	switch m.state {
	case Stopping:
		m.state, m.hasDue = Stopped, false
	case Starting, Ready, Failed:
		m.forget(now)
		m.failures++
		m.state = BackOff
		m.wait(now, m.pause)
		m.pause = min(2*m.pause, m.limits.PauseMax)
	}
}

// forget makes a service that has been ready for long one without failures.
func (m *Machine) forget(now clock.Instant) {
	if m.state == Ready && now.Sub(m.since) >= m.limits.Stable {
		m.failures, m.pause = 0, m.limits.PauseMin
	}
}

func (m *Machine) tick(now clock.Instant) Action {
	m.forget(now)
	if !m.hasDue || now < m.due {
		return Nothing
	}
	switch m.state {
	case BackOff:
		return m.spawn(now)
	case Starting, Ready:
		m.state = Failed
		m.wait(now, m.limits.Stop)
		return Kill
	case Failed, Stopping:
		m.wait(now, m.limits.Stop) // a process in the kernel's hands dies late; ask again
		return Kill
	}
	return Nothing
}
