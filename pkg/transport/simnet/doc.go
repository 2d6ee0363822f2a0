// Package simnet is the simulated network of the whole-cluster simulation.
//
// A Net joins nodes by named paths with delay, jitter, loss and cuts in each
// direction, and gives each running node an Endpoint that keeps the contract of
// package transport. It owns everything that is in flight.
//
// It is single-threaded: it starts no goroutine, takes no lock and reads no
// clock. Everything happens in functions handed to the Scheduler, and every
// choice is drawn from the random source given to New, so one seed gives one
// history. Nothing is delivered from within a Send.
//
// How it stands in for the real one: a path is up while neither direction was
// cut for the dead time; each end learns that a path died at its own moment, so
// one end may keep a session a little longer than the other. A message that
// meets a cut waits, as TCP would retransmit it, and is lost with the session
// if the session ends first. A crashed node says no goodbye.
// Keys are whom an end was told to know when it started.
package simnet
