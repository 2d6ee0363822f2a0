// Package simclock is a clock that moves only when it is told, with a skew of
// its own for each node of a simulation.
package simclock

import (
	"time"

	"beffroi.dev/pkg/clock"
)

// Clock is a simulated clock.Clock. It is owned by one goroutine.
type Clock struct {
	now    *clock.Instant // shared by all clocks of one world
	offset time.Duration
	drift  float64 // 1.0 runs true
	epoch  time.Time
}

// New makes the first clock of a world.
func New(epoch time.Time) *Clock {
	return &Clock{now: new(clock.Instant), drift: 1, epoch: epoch}
}

// Skewed returns another clock of the same world that reads offset more and
// runs drift times as fast.
func (c *Clock) Skewed(offset time.Duration, drift float64) *Clock {
	return &Clock{now: c.now, offset: offset, drift: drift, epoch: c.epoch}
}

// Advance moves the time of the whole world.
func (c *Clock) Advance(d time.Duration) { *c.now = c.now.Add(d) }

// Set moves the time of the whole world to an instant that is not earlier.
func (c *Clock) Set(i clock.Instant) {
	if i > *c.now {
		*c.now = i
	}
}

// Now reads this clock.
func (c *Clock) Now() clock.Instant {
	return clock.Instant(float64(*c.now)*c.drift) + clock.Instant(c.offset)
}

// Wall is the world's time of day as this clock sees it.
func (c *Clock) Wall() time.Time { return c.epoch.Add(time.Duration(c.Now())) }
