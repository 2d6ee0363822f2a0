// Package vmpair is a pair of virtual servers under test: the lab in vm mode, seen
// through the doors that a town has.
//
// It starts a lab and watches each node from power-on: when its kernel runs, when it
// answers, and the table of its boot's phases. It hands out serial lines, the rescue
// shell and the operator's API of each node, and measures a node's idle memory. What
// goes wrong comes with the ends of the serial logs.
//
// Nothing here looks into a machine by any other way, and nothing stays: Close stops
// every machine and removes their folder.
package vmpair
