// Package dhcp keeps a DHCPv4 lease for one link (RFC 2131).
//
//	            ACK                 T1               T2
//	selecting -------> bound -----------> renewing -----> rebinding
//	    ^               ^ |                 | |              | |
//	    |               | +---- ACK --------+-+---- ACK -----+ |
//	    +--------- NAK, or the lease is over ------------------+
//
// A Client tries for ever: a town's server may be away for days. It waits longer
// after each failure, up to a bound, and by a random part, so that a whole town
// does not ask at once after a blackout. Each change of the lease is told once, in
// order; the client itself changes nothing in the kernel.
//
// It opens its raw socket for one exchange at a time, so that it costs nothing in
// between.
package dhcp
