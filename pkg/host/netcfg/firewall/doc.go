// Package firewall says who on the network may talk to whom on this node.
//
// Rules turns a configuration into a list of rules, each readable by itself; it is
// pure, and a golden file holds what it gives. Install puts the list into the
// kernel (nftables, tables "inet beffroi" and "bridge beffroi", its own and no other)
// in one transaction: there is no moment without a rule. What no rule permits is dropped
// and counted by where it came from; the counts go on over a new Install.
//
// The order of the list is its meaning: first what the node itself asked for, then
// the fibres, which are closed before the lan is opened, then what everyone may
// reach, then the operators' and the votes' ports. Nothing is forwarded. What
// guests say to each other and to the town stays in the bridge. What they say to the
// node the bridge marks (BridgeRules), and it gets no further than a citizen's.
//
// All calls act in the network namespace of the calling thread.
package firewall
