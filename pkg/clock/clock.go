package clock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Instant is a reading of a monotonic clock, in nanoseconds from an arbitrary
// origin. Instants of two machines must never be compared.
type Instant int64

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Clock reads time.
type Clock interface {
	// Now reads the suspend-aware monotonic clock.
	Now() Instant
	// Wall reads the time of day: a label for people, never an input to a rule.
	Wall() time.Time
}

// System is the machine's own clock.
type System struct{}

// Now reads CLOCK_BOOTTIME.
func (System) Now() Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("clock: CLOCK_BOOTTIME cannot be read: %v", err)) // every Linux since 2.6.39 has it
	}
	return Instant(ts.Nano())
}

// Wall reads the time of day.
func (System) Wall() time.Time { return time.Now() }
