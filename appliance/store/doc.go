// Package store is the block service of a node (beffroi block): it joins the
// mirror's engine with the vote, the data link and the NBD server.
//
// It owns the node's store device, the data transport and two sockets: nbd.sock,
// where guests and the citizen service find their volumes, and block.sock, where
// the node's other services ask for a planned switch. It decides nothing by
// itself: configurations come from the voted state, and what the mirror proposes
// goes to the vote.
//
// An export is named GROUP/VOLUME, or GROUP/VOLUME@GENERATION for the disks of a
// VM: an export of an older generation is refused, and requests that still come
// through it are fenced by the mirror.
//
// A device that holds another pair's store, a newer format, another replica or
// anything else is refused with the reason and left untouched. A blank device is
// formatted once; a node that has had a store never formats another one under
// the same identity (rule R9).
package store
