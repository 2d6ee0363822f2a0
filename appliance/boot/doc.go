// Package boot is init on an appliance: it makes a running node of the image, and
// keeps it.
//
// A boot is a table of phases, each with a name, a body and the rule what its
// failure means. They run one after the other; a phase that must not fail is tried
// again until it succeeds, because there is nobody who would press a button, and
// says why on the console meanwhile.
//
//	mounts     what the kernel offers
//	board      who made this machine, and what it needs
//	watchdog   armed, with the one driver that takes; from here on a machine that hangs is reset
//	console    on each terminal; it shows this table
//	userland   the read-only image: QEMU, and the firmware that drivers ask for
//	modules    drivers of the board and of every device found
//	disk       our partitions, grown to the disk
//	state      its file system: checked, or made on a blank partition
//	identity   the configuration, from the state or from a seed
//	network    ports by role, addresses; a fibre without its card is an alarm, the lan without its own a failure
//	clock      not before the release was built
//	services   node, block, vm, citizen, console: all ready, each with its rights (package rights)
//
// The table is printable, and kept in run/boot.json for the serial console. The
// console itself (rescue) is a child of its own, started as soon as there is a
// terminal, kept for ever, and needed by nothing.
//
// A boot that the loader counts as a try is watched until it is good, and its entry is
// blessed; see Trial. One that stays in a phase that fails is given up, if the loader has
// another release to start. The power button, and signals, end the machine in order.
//
// Beside the services init does what they have no right to: it moves the service address
// (package address) and makes the guests' taps (package tap).
//
// At the console's wish it opens the pairing's port for a while and takes a new machine
// into the pair in place of a lost twin (package pairing).
//
// The watchdog is fed while each phase ends or gets on within its bound and, later, while
// init's own loops say that all is well (vigil); it guards the machine's end, too. When it
// is not fed any more the kernel's log and consoles say why; shortly before the hardware
// strikes the kernel panics, so that the next boot can tell (package pstore). A boot on trial
// that hangs so comes to the end of its tries, and the loader takes the other slot.
package boot
