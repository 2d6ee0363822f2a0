// Package slots is the boot entries on the EFI system partition: which one runs, how
// many tries it has left, and how a good one is blessed.
//
// An entry is a kernel image in EFI/Linux whose name counts its tries, after the
// Boot Loader Specification's boot counting and systemd's Automatic Boot Assessment:
//
//	beffroi_VERSION+LEFT-DONE.efi   on trial; DONE is left out while it is 0
//	beffroi_VERSION.efi             blessed
//
// The loader takes one from LEFT and adds one to DONE, by a rename, each time it
// starts an entry on trial; one with none left comes last. It tells the name in the
// variable LoaderBootCountPath, which a blessed entry does not have.
//
// Blessing is a rename too: whatever is cut in the middle, the loader finds the file
// under one of its names. The package never decides when a boot is good, and never
// removes an entry.
package slots
