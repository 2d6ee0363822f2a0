// Package fence is the wire and the executor of the node's two fences: what must
// be dead once nobody vouches for this node any more.
//
// The node service renews through a Client; init listens and executes through a
// Guard, which is pure, and Kill. A Renewal holds the instant since when a
// majority vouches for this node, on the machine's own clock, which all its
// processes share; the guests that have another home; and whether the service
// address is held while another node may come to hold it.
//
//	what passes               what is done
//	AddressDrop since vouched the citizen service is killed, once, if the address was still held, and the address
//	                          taken off the node, again and again until it is gone;
//	                          nobody listens on the address any more
//	Fence since vouched       the exposed guests' QEMUs are killed, again and again while it stays passed
//
// A Guard looks at its deadlines before it takes a renewal: after a freeze of the
// whole machine the renewal that waits in the socket must not excuse what ran
// out before it.
//
// The last Renewal is kept in a file of the run folder. A restarted init goes on
// with its deadlines, with Linger until it listens again, and a restarted node service knows from it whether the
// guests that it finds were fenced in between.
//
// A Renewal is JSON in one datagram, at most 64 KiB, from the same user, root, or the node service's user:
//
//	{"vouched":123, "ever":true, "guests":[{"name":"etat-civil","folder":"/..."}], "address":true}
package fence
