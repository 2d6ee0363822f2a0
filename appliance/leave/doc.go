// Package leave is how a node goes down in order: before its services stop it shuts
// its guests down, gives them to its twin, which starts them, and hands the groups
// over that it leads, so that citizens wait for a planned switch and not for somebody
// to notice a death.
//
// It owns nothing and decides nothing about the pair: it asks the vm service, the vote
// and the block service of the node, in this order, and each may refuse. A twin that
// is away, or not in sync, gets nothing: the guests are shut down all the same, and
// start here again when the node returns.
//
// Run returns in bounded time, whatever hangs: power is about to go.
package leave
