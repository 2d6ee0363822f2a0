package fence

import (
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/quorum/lease"
)

// Work is what a fence wants done now.
type Work struct {
	Guests  []Guest // kill their QEMUs
	Citizen bool    // kill the citizen service
}

// Guard knows what is exposed and until when. It is pure, and owned by one
// caller.
type Guard struct {
	fence  *lease.Fence
	last   Renewal
	struck bool // the citizen service was killed for this passing
}

// NewGuard begins with what was kept of an earlier life; a Renewal that was never
// vouched for is passed.
func NewGuard(t lease.Timing, last Renewal) *Guard {
	g := &Guard{fence: lease.NewFence(t)}
	g.take(last)
	return g
}

// Due says what is to be done now. It is asked before every Renew, and often.
func (g *Guard) Due(now clock.Instant) Work {
	var w Work
	if g.fence.Passed(now) {
		w.Guests = g.last.Guests
	}
	if !g.fence.AddressPassed(now) {
		g.struck = false
	} else if g.last.Address && !g.struck {
		w.Citizen, g.struck = true, true
	}
	return w
}

// Renew takes a renewal, after what was due before it, which it returns.
func (g *Guard) Renew(r Renewal, now clock.Instant) Work {
	w := g.Due(now)
	g.take(r)
	return w
}

func (g *Guard) take(r Renewal) {
	if r.Ever {
		g.fence.Renew(r.Vouched)
	}
	// A node service that just started knows no instant yet; the one of its former
	// life still counts.
	if g.last.Ever && (!r.Ever || r.Vouched < g.last.Vouched) {
		r.Vouched, r.Ever = g.last.Vouched, true
	}
	g.last = r
}

// Last is what holds now, to be kept for the next life.
func (g *Guard) Last() Renewal { return g.last }

// Passed reports whether the guests' fence has passed.
func (g *Guard) Passed(now clock.Instant) bool { return g.fence.Passed(now) }
