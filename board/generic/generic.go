// Package generic is any x86-64 server with UEFI.
package generic

import "beffroi.dev/board"

// Board matches every machine. Its watchdogs are those of servers: the one that the
// firmware describes, then those of the chipsets (Intel's shows only when the driver of
// its bridge, old or new, is there), of HP's controller and of any other controller that
// speaks IPMI. The kernel's own comes last, and covers neither a dead kernel nor a dead
// processor.
var Board = board.Board{
	Name: "generic", Consoles: []string{"/dev/ttyS0", "/dev/tty1"},
	Watchdog: []string{"wdat_wdt", "lpc_ich", "i2c_i801", "iTCO_wdt", "sp5100_tco", "i6300esb", "hpwdt", "ipmi_si", "ipmi_watchdog", board.Softdog},
	Modules:  board.Common(),
	Ports:    board.Ports(),
}
