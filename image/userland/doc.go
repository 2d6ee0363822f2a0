// Package userland makes the read-only file system that an appliance mounts on
// /usr: QEMU, the firmware of guests, the programs for ext4, and exactly the shared
// libraries that these name, found by their ELF headers. It is packed by the locked
// squashfs-tools, run from their own folder with their own libraries, so that the
// builder's machine has no part in the bytes.
package userland
