// Package lease holds the rules of who may do what until when.
//
// It owns the relations between all time limits (Timing, in named profiles),
// the renewals by which voters vouch for a data node (Grants, Rounds), the two
// fences that follow from them (Fence), and the decision what a node should
// lead, run and hold (Decide).
//
// How a renewal works. A data node asks all voters, at instant t of its own
// clock; each answers. Once a majority, itself included, has answered, the node
// is vouched for since t: it may hold the service address until t+AddressDrop,
// and keep guests that another node may be promoted for until t+Fence. Each
// voter remembers when it last answered whom, and says so in its answers. A
// node that hears from a majority that none of them has answered N for longer
// than a limit knows that N's own limit has passed: any two majorities share a
// voter, and N counted from before the answer. Only durations travel, so no
// clock needs to be right, just to run at nearly the same speed (Drift).
//
// Reads need more (R6). A majority's word is a moment old when it arrives, and
// the node may have been heard again since. So a primary reads only while every
// other in-sync member has answered it within Lease; and a member that wants to
// be promoted first stops answering (Grants.Seek), which it may after Grace, and
// answers again only when it knows what became of its proposal.
//
// Who was fenced starts again only by a new claim: a guest is started under a
// generation that the starting node itself obtained, in this life and since
// its last fence. So a node that comes back between another node's look at its
// silence and that node's claim cannot run the guest a second time.
//
// Everything here is pure: no I/O, no clock, no goroutine. It fences no data:
// epochs do that (rules R1 to R5), and a limit that is broken by a wild clock
// can show a stale read or run a guest twice, but never fork a volume.
package lease
