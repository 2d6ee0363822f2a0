// Package esp writes the EFI system partition of an image: a FAT32 file system that
// holds given files, with fixed times and serial number, so that the same files
// give the same bytes. It only makes new ones; the kernel changes them later.
package esp
