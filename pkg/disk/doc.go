// Package disk is the block device seam.
//
// A Device is the plain, synchronous face: read at, write at, sync, size. A
// Queue is the asynchronous one, which takes many requests at once and
// completes them in any order; volumes, the NBD server and the NBD client meet
// at it. NewQueue and NewDevice turn one into the other.
//
// Promises shared by all implementations, checked by the disktest suite: a
// write is seen by every read that starts after it returned; what was written
// before a Sync returned survives a power cut; what was not may be lost, torn
// at 512-byte boundaries or kept, in any mixture.
//
// File is the real one, over a file or a block device with O_DIRECT. Package
// simdisk is the simulated one. A failed Sync means a failed device: File
// refuses everything after it, for ever (never a retry).
package disk
