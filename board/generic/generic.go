// Package generic is any x86-64 server with UEFI.
package generic

import "beffroi.dev/board"

// Board matches every machine. Its watchdogs are those of the chipsets that servers
// are built with; the kernel's own comes last, and covers all but a dead kernel.
var Board = board.Board{
	Name: "generic", Consoles: []string{"/dev/ttyS0", "/dev/tty1"},
	Watchdog: []string{"iTCO_wdt", "sp5100_tco", "i6300esb", "softdog"}, Modules: board.Common(),
	Ports: board.Ports(),
}
