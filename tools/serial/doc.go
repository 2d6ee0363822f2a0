// Package serial is a person at the serial terminal of a node.
//
// A Line is a terminal of 80 by 24 characters at the end of a serial line of 115200
// baud. It draws what the node sends with a terminal emulator that nobody here
// wrote, at the speed of the line: what a node sends faster waits in the node. It
// types, reads its screen, and waits until a text is there. A Shell is the rescue
// shell behind its password: it runs commands and tells their output and exit code.
//
// It knows the screens of appliance/rescue only by what they show: menu entries are
// chosen by their words, the language is told by the key line.
package serial
