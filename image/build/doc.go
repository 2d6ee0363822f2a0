// Package build puts the image of an appliance together: the parts that come from
// Debian's packages (by the lock), our programs, the recovery shell, one signed
// kernel image of all these, and a disk image around it. Beside the image it leaves
// a manifest with the hash of every part and a bill of materials (CycloneDX).
//
// What takes long is kept in a cache by the hash of all it was made from, so that a
// build after a change of ours takes as long as compiling.
//
// The same inputs give the same bytes in whatever folder and at whatever time. The
// inputs are the source, the lock, the version, the time that the image names as its
// own, the key and the Go compiler.
package build
