// Package account is the table of users and groups of an appliance: who runs as
// which number. It is the one place where these numbers stand; the image writes
// passwd and group from it, init starts services by it, and files of the state
// partition belong to these numbers for as long as a node lives. So a number is
// never given to somebody else.
//
// Each service has a user of its own. A group that is not a user's own is a right:
//
//	beffroi        may use the sockets that all services use
//	beffroi-key    may read the node's key
//	beffroi-disk   may open volumes
//	kvm            may use the processor's help for guests
//	beffroi-tap    may open the device of taps, where the kernel lets a user in to its own
//
// A guest's QEMU has a user and a group of its own number, made from the VM's
// identity (OfGuest), which no two VMs of a pair share. These have no names.
//
// It owns nothing and does nothing.
package account
