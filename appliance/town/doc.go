// Package town is the citizen service of a node (beffroi citizen): it opens the
// citizens' volume where it is led, listens on the node's own address and, while
// it is told to, on the service address.
//
// Its sockets are handed over by init where there is one, and outlive it. On the one at
// the service address it listens only while it holds that; a life that ends leaves it
// listening for the next, and a life that is told not to hold it ends what a former one
// began. On an appliance init moves the address itself (package address).
//
// The node service orders who holds the service address. The one that does opens
// the volume through the node's own NBD socket, serves, and binds the address;
// when the order ends it lets go of both at once. The other one hands citizens
// on to it, and holds their requests during a switch. Whether this node may
// acknowledge anything is asked of the block service after each piece of work
// (Role), so a late order can cost time but never a false receipt. While the answer is
// "not now", because the twin has gone or returns, the database stays open and the front
// holds requests; when this node has not led the volume without a break since it was
// opened, it is opened anew (decision 10).
//
// On the socket "citizen" it answers the node's own operators, through the console:
//
//	GET  /v1/status  status.Citizen
//	     /v1/agents  the counter agents; package agents says how
//
// It owns no data: all of it lies on the volume.
package town
