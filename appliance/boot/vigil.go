package boot

import (
	"fmt"
	"time"
)

// Bounds of a phase: how long one try of it may go on without an end and without a
// sign that it gets on. They are for what hangs, not for what is slow: each is many
// times what an emulated machine takes.
const (
	// quick is for what asks the kernel or reads from memory: milliseconds.
	quick = time.Minute
	// probing is for drivers. Those of the image wait for hardware that starts: mlx5 two
	// minutes for its firmware, megaraid_sas three for its controller's, and a machine
	// has several of them, one after the other.
	probing = 15 * time.Minute
	// disks is for what reads and writes a disk. The kernel gives a command 30 seconds
	// and repeats it five times before it calls a sector unreadable.
	disks = 5 * time.Minute
	// linking is for network cards, whose drivers may load firmware and train a link.
	linking = 5 * time.Minute
	// pausing is for what lies between two phases, or two tries of one: the table is
	// written, and 2 seconds pass.
	pausing = time.Minute
	// leaving is for the end of the machine: services get ten seconds each, what is left
	// five, and a disk may have much to write.
	leaving = 5 * time.Minute
	// untold is for a phase that waits for a person, who may come next week.
	untold time.Duration = 0
	// stale is how old the last good beat of init's own loops may be.
	stale = 10 * time.Second
)

// loop is one of init's own, once the services run.
type loop int

// The loops.
const (
	fences   loop = iota // executes the fences
	services             // keeps the services
	loops
)

// vigil judges whether the watchdog may be fed: while each phase of the boot ends or
// gets on within its bound, and then while init's loops say that all is well. It is
// pure: times are durations since any one instant.
type vigil struct {
	phase string
	since time.Duration // when it began, or last got on
	bound time.Duration // untold: none

	watched bool // the phases are over: beats count
	lingers bool // a former life of init has left guests: the fences' beats count in the phases, too
	beats   [loops]time.Duration
}

// enter begins a phase, or another try of it. The machine's end is one too: there are no
// beats any more.
func (v *vigil) enter(now time.Duration, phase string, bound time.Duration) {
	v.phase, v.since, v.bound, v.watched = phase, now, bound, false
}

// within gives the phase that runs another bound, from now on.
func (v *vigil) within(now, bound time.Duration) { v.since, v.bound = now, bound }

// moves says that the phase gets on.
func (v *vigil) moves(now time.Duration) { v.since = now }

// linger says that the fences of a former life of init are executed, or not any more.
func (v *vigil) linger(now time.Duration, on bool) { v.lingers, v.beats[fences] = on, now }

// watch ends the phases and begins to ask for beats.
func (v *vigil) watch(now time.Duration) {
	v.watched = true
	for l := range v.beats {
		v.beats[l] = now
	}
}

// beat takes what a loop says of itself. One that says that all is not well has as
// long to mend it as one that is silent.
func (v *vigil) beat(now time.Duration, l loop, well bool) {
	if well {
		v.beats[l] = now
	}
}

// fault says why the watchdog may not be fed; empty when it may.
func (v *vigil) fault(now time.Duration) (french, english string) {
	if !v.watched {
		if stuck := now - v.since; v.bound != untold && stuck > v.bound {
			s := stuck.Round(time.Second)
			return fmt.Sprintf("l'étape %s n'avance plus depuis %v", v.phase, s), fmt.Sprintf("phase %s has not got on for %v", v.phase, s)
		}
	}
	counts := [loops]bool{fences: v.watched || v.lingers, services: v.watched}
	for l, told := range [loops][2]string{
		fences:   {"une machine virtuelle ou une adresse qui doit disparaître est encore là, ou la boucle des clôtures ne tourne plus", "a guest or an address that must go is still there, or the loop of the fences does not move"},
		services: {"les services ne sont plus surveillés", "the services are not looked after"},
	} {
		if silent := now - v.beats[l]; counts[l] && silent >= stale {
			s := silent.Round(time.Second)
			return fmt.Sprintf("%s depuis %v", told[0], s), fmt.Sprintf("%s for %v", told[1], s)
		}
	}
	return "", ""
}
