// Package cluster is what the three voters agree on: the typed replicated state
// and the rules that change it.
//
// It owns the meaning of State and of every Command. Nodes, volume groups with
// their configuration, VMs with their placement, users, the service, and a
// bounded history of events.
//
// Promises: Apply is a pure function of state and command, so that three voters
// that apply the same commands hold the same bytes. It never panics, whatever
// the command says: a command that breaks a rule, or that a newer version
// wrote, is refused with a reason that says what is allowed, and changes
// nothing. A proposal that arrives twice is applied once.
//
// The configuration of a group changes only by compare-and-set on its epoch, in
// one of five kinds, each allowed to one node only:
//
//	kind     by                 new primary     new in-sync set
//	shrink   the primary        the same        fewer, with the primary   (R3)
//	grow     the primary        the same        one data node more        (R4)
//	promote  another member     that member     any part with that member (R5)
//	switch   the primary        another member  the same                  (planned)
//	restart  the primary        the same        the same or fewer         (R7)
//
// A VM's network cards get their addresses here, once, from the pair's identity and the
// VM's: so they are the same on both nodes and after every failover, never the same for
// two VMs of a pair, and differ between pairs. A state of version 1 knows no cards: each
// of its VMs gets one, as a command that says nothing about cards gives.
//
// Who is a member changes by ReplaceNode alone: a fresh identity, key and replica under
// a lost node's name and site.
//
// It does no I/O, reads no clock and draws no random number: times and
// identities come with the command. It never looks at data: that a peer holds
// every acknowledged write before a grow is the proposer's duty.
package cluster
