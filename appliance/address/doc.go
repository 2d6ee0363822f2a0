// Package address lets the citizen service hold the service address of an appliance
// without the right to touch the network: it asks, and init does it.
//
// The citizen service faces the whole town. With the right to move an address it
// could also take the firewall down, so the act lies with init, which removes the
// address anyway when its fence passes.
//
// On the socket "address", for the citizen service alone:
//
//	PUT /v1/address      hold it; 204 when the node answers for it
//	DELETE /v1/address   give it back; 204 when the node no longer does
//
// Errors are 409 (fenced) and 500, with a line of text. A process that was fenced
// cannot hold the address any more, however late its request is read: Fence names it,
// and a hold that is under way is undone.
//
// It never decides who holds the address.
package address
