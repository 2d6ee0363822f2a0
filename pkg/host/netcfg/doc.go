// Package netcfg brings a node's network into the state that its configuration
// asks for.
//
//	Config + Cards --Assign--> Roles --MakePlan--> Plan
//	                                                 |
//	kernel ------------Observe------------> State    |
//	   ^                                      |      |
//	   +------------- Apply <--- Changes <----+------+
//
// Assign says which card plays which role: lan, fibre1, fibre2. MakePlan says
// what must then be there: links, addresses, routes, kernel settings. Changes
// compares that with what is there and gives the steps from one to the other. All
// three are pure. Engine reads the kernel and executes the steps; to apply the
// same configuration twice changes nothing.
//
// It owns every card that it gave a role (the alias "beffroi:ROLE" marks them, so
// that a new process knows them again), the bridge of the guests and their taps,
// and the routes it made (protocol 66). What it owns and no longer wants it
// removes; what bears no such mark it never touches, except that cards without a role
// are switched on, so that a fibre in the wrong one is heard. Follow gives a fibre the
// card in which it was found.
//
// The DNS servers in use, those that a person has named or else the lease's, it writes
// into a file for the resolvers of all programs.
//
// A tap is made for a user, lasts until it is removed, and is never touched by Apply,
// except that it follows the bridge. Guests are in the town's network as the lan's card
// is; only firewall tells them from the town, for the node's own ports.
//
// Its children each do one more thing and join here only through values: dhcp
// keeps a lease, serviceaddr holds the address that citizens know, probe finds out
// which cable is plugged where, firewall says who may talk to whom. nstest gives
// tests a network. netlink, raw sockets and nftables are used in this folder only.
package netcfg
