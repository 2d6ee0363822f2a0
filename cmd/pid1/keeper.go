package main

import (
	"syscall"
	"time"
)

// order is something that process 1 is to do.
type order int

// The orders.
const (
	none order = iota
	startInit
	startRescue // on each terminal
	endRescue   // on each terminal
	askReboot   // init, to reboot in order
	askPowerOff // init, to power off in order
	reboot      // the machine, at once
	powerOff    // the machine, at once
)

// keeper decides what process 1 does. It is pure: it is told what happened and when, and
// answers with orders; due is when it wants to be asked again.
type keeper struct {
	limits
	up      bool          // init runs
	changed time.Duration // when it was started, or ended
	ends    int           // of init, in a row
	rescue  bool          // was started, and was not ended
	wish    order         // the end of the machine that was asked for first
}

// limits are how patient a keeper is.
type limits struct {
	settled     time.Duration // how long init must have lived for its end to count as the first
	maxPause    time.Duration // between an end and the next start
	rescueAfter int           // ends in a row that bring the rescue console up without init
}

// began says that init was started.
func (k *keeper) began(now time.Duration) { k.up, k.changed = true, now }

// ended says that init has ended, or could not be started. An init that was asked for the
// end of the machine and ended without it has failed: the end is made from here.
func (k *keeper) ended(now time.Duration) []order {
	if k.up && now-k.changed >= k.settled {
		k.ends = 0
	}
	k.up, k.changed = false, now
	switch k.wish {
	case askReboot:
		return []order{reboot}
	case askPowerOff:
		return []order{powerOff}
	}
	if k.ends++; k.ends >= k.rescueAfter {
		k.rescue = true // a console that has ended meanwhile is started again
		return []order{startRescue}
	}
	return nil
}

// due is when the keeper wants to be asked what time has brought, if it does.
func (k *keeper) due() (at time.Duration, ok bool) {
	switch {
	case !k.up:
		return k.changed + pause(k.ends, k.maxPause), true
	case k.rescue || k.ends > 0:
		return k.changed + k.settled, true
	}
	return 0, false
}

// passed is what time has brought: the next start, or an init that has settled, whose
// consoles are the only ones then.
func (k *keeper) passed(now time.Duration) []order {
	at, ok := k.due()
	switch {
	case !ok || now < at:
		return nil
	case !k.up:
		return []order{startInit}
	}
	k.ends = 0
	if k.rescue {
		k.rescue = false
		return []order{endRescue}
	}
	return nil
}

// pause before the next start, after so many ends in a row.
func pause(ends int, most time.Duration) time.Duration {
	if ends <= 1 {
		return 0
	}
	return min(time.Second<<min(ends-2, 6), most)
}

// wishes are ends of the machine by signal. SIGINT is what the kernel makes of Ctrl-Alt-Del,
// and SIGTERM what kill sends when it is told nothing else: both reboot, because somebody
// would have to drive to a machine that is off.
var wishes = map[syscall.Signal]order{
	syscall.SIGTERM: askReboot, syscall.SIGINT: askReboot, syscall.SIGUSR1: askReboot,
	syscall.SIGUSR2: askPowerOff,
}

// meaningless are the other signals that would end a program of Go, and with process 1 the
// kernel. What a fault of the processor sends cannot be caught.
var meaningless = []syscall.Signal{syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTRAP, syscall.SIGABRT, syscall.SIGPIPE, syscall.SIGALRM,
	syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGVTALRM, syscall.SIGPROF, syscall.SIGIO, syscall.SIGPWR}

// signalled passes a wish on to init, each time: who asks init again does not want to wait
// (see appliance/boot). Without an init it is done at once.
func (k *keeper) signalled(s syscall.Signal) []order {
	wish, ok := wishes[s]
	switch {
	case !ok:
		return nil
	case k.up:
		if k.wish == none {
			k.wish = wish
		}
		return []order{wish}
	case wish == askPowerOff:
		return []order{powerOff}
	}
	return []order{reboot}
}
