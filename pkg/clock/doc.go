// Package clock is the door to time.
//
// A Clock gives instants of a monotonic clock that goes on while the machine is
// suspended (CLOCK_BOOTTIME), because leases must lapse on a node that slept
// (rule R6). Cores never hold a Clock: they take the instant as an argument.
// Wall-clock time is a label for people and comes from Wall.
//
// Package simclock holds the clock that only moves when it is told.
package clock
