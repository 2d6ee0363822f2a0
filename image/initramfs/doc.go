// Package initramfs makes the initial file system of an appliance: all that runs
// before, and beside, the volumes. It is a chain of cpio archives, some of them
// compressed; the kernel unpacks one over the other:
//
//	kernel/x86/microcode/   not compressed, first: read before memory is set up
//	/usr.squashfs           not compressed again: QEMU, mkfs and their libraries
//	/modules/RELEASE/       modules, modules.list and modules.alias
//	/                       /init, /beffroi/bin, /etc and the empty folders
//
// The same entries give the same bytes: owners, times and inode numbers are ours.
package initramfs
