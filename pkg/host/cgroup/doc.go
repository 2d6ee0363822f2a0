// Package cgroup makes control groups of the second version: places for processes,
// with bounds, that can be ended as one.
//
// A process is born in its group (File, for clone), so that nothing it does and
// nothing it starts escapes. Kill ends all processes of a group at once, also
// those that fork meanwhile and those that were left behind by their parents.
//
// A group may be given to a user (Delegate): that user may then make groups below
// it and put processes into them, but not change the group's own bounds.
//
// The package never moves a process and never reads what others use.
package cgroup
