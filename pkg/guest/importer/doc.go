// Package importer brings a disk image of a town's existing server into a volume.
//
// Inspect looks first and changes nothing: what is not a disk image is refused
// before anything is created. A qcow2 header is read by a parser of our own,
// which knows only what we accept (versions 2 and 3, no backing file, no external
// data file, no encryption), because an image is a file that a stranger wrote:
// a backing file name in it would make QEMU's tools read any file of this
// machine. A raw image must begin like something that was once a disk: a boot
// signature, a partition table, or a file system or ISO signature.
//
// Copy then fills the target. Raw is copied by our own loop onto a disk queue;
// qcow2 is converted by qemu-img onto an NBD export of the same volume, with its
// format stated and never guessed. Holes are skipped when the target is known to
// be zero, and zeroed when it is not.
//
// The package never creates, resizes or deletes a volume.
package importer
