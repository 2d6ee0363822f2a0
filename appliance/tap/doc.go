// Package tap lets the vm service have taps for guests' network cards without the right
// to touch the network: it names a VM, and init does the rest.
//
// On the socket "tap", for the vm service alone (the socket's file lets no other user
// in, and the kernel is asked who calls):
//
//	GET /v1/taps           {"vms":[...]}: the VMs that have taps here
//	PUT /v1/taps/ID        {"links":[...]}: one for each card of the VM, in their order
//	DELETE /v1/taps/ID     the VM has ended; 204 also when there were none
//
// Nothing else is asked for, so nothing else can be: how many taps there are init reads
// in the voted state, and so that the VM exists and is placed on this node; the user
// that each belongs to follows from the VM's identity (pkg/host/account). A tap is made
// for good (it outlives init, the vm service and its QEMU), and joined to the lan's
// bridge. QEMU, as that user, opens it without any capability.
//
// A tap that a QEMU has open is never removed, whoever asks: guests outlive the
// services, and so do their networks. What a dead QEMU leaves is harmless, and removed
// when the vm service says so, in this life or the next.
//
// Errors are lines of text: 403 another caller; 404 no such VM; 409 the VM may not have
// taps here, or its taps are in use; 503 the voted state is not known; 500 the kernel
// refused.
package tap
