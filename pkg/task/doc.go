// Package task owns goroutines.
//
// A Group starts named goroutines, turns a panic into an error with its stack,
// cancels the rest when one fails, and waits for all of them when it is
// stopped. No other package of the product starts a goroutine that outlives the
// function that started it.
package task
