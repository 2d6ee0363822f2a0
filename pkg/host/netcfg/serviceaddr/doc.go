// Package serviceaddr holds the address that citizens know, on one node at a time.
//
// The address sits on a macvlan link above the lan with one MAC address that both
// nodes use in turn. So when it moves, no neighbour has to learn anything: only
// the switches must learn the new port, and the announcements (RFC 5227 for IPv4,
// RFC 4861 7.2.6 for IPv6) teach them with the first frame.
//
// Answers leave through that link too, with that MAC: a routing rule sends what
// comes from the address to a table of its own (191), which has the lan's network
// and a copy of its default routes. Refresh, after the lan's routes have changed,
// renews the copy.
//
// Hold and Drop may be called in any state and as often as one likes; Drop returns
// when the kernel no longer answers for the address. Stale does the same for what
// a dead process left behind: it needs no configuration, so that a fence can use it.
//
// It never decides who holds the address. All calls act in the network namespace
// of the calling thread.
package serviceaddr
