// Package qemuq35 is a q35 machine of QEMU, as the lab makes them.
package qemuq35

import "beffroi.dev/board"

// Board is the machine.
var Board = board.Board{
	Name: "qemuq35", Vendor: "QEMU", Product: "Standard PC (Q35",
	Consoles: []string{"/dev/ttyS0", "/dev/tty1"}, Watchdog: []string{"i6300esb"}, Modules: append([]string{"virtio_pci", "virtio_blk", "virtio_net"}, board.Common()...),
	Ports: board.Ports(),
}
