// Package layout is the disk of a node: which partitions it has, where they lie,
// and how the last of them grows to a bigger disk.
//
//	1  ESP            the loader and the slots with the kernel images
//	2  beffroi-seed   what a node is told before its first boot; zeros: nothing
//	3  beffroi-state  identity, votes, logs; zeros: formatted on first boot
//	4  beffroi-store  the volumes; the rest of the disk
//
// Partitions are found by the GUID of their type, never by their number or name:
// a disk that was partitioned by hand is as good. The table (UEFI specification,
// chapter 5) is read from hostile bytes: every number is checked before it is
// used. Only disks with sectors of 512 bytes are understood.
//
// Grow writes the copy of the table at the disk's new end first and the one at
// its start afterwards, so that at every instant one of the two is whole.
package layout
