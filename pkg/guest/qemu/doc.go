// Package qemu turns the specification of a virtual machine into the argument
// vector of QEMU (7.2 or later).
//
// It is pure: it reads no file, starts no process and looks at no clock, and the
// same specification always gives the same arguments. It owns the decisions that
// make a guest survive its storage: disks are NBD exports on unix sockets that
// QEMU connects to again by itself, an I/O error stops the guest with its clock
// instead of reaching it (rerror=stop, werror=stop), and every socket belongs to
// QEMU, so that no pipe leads to the supervisor and QEMU outlives it.
//
// A network card is a tap that somebody else has made for QEMU's user, so that QEMU
// needs no right to the network; the firmware boots from it after all disks.
//
// It never runs QEMU (package vm does) and never chooses an accelerator (package
// accel does).
package qemu
