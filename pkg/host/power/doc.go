// Package power is the power of the machine: its button.
//
// Watch hears the button as the kernel tells it (evdev). The package decides nothing:
// what a press means is its caller's.
package power
