// Package timekeeper compares the time of day of the three voters, so that a clock
// with a dead battery is corrected from the others.
//
// No rule of the pair depends on the time of day (see package lease); people, logs,
// one-time passwords and legal deadlines do. The package is pure: it is told what
// others say and what the own clock shows, and gives a verdict. Who may set a clock
// does so.
//
//	what is known                                       verdict
//	two others agree, and not with this clock           wrong, by what they say
//	this clock is a guess, and others are later         wrong, by the nearest of them
//	one other disagrees, or two among themselves        they differ: nobody knows who is right
//
// A guess is a clock that was before the release was built, and was set to that
// time: it is certainly behind, and so is whoever is behind it.
package timekeeper
