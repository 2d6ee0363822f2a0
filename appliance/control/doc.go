// Package control is how the services of one node talk to its node service: HTTP
// with JSON over a unix socket in the node's run folder.
//
// The node service owns the vote and decides; the block, vm, citizen and console
// services watch, propose and report through a Client. A service that cannot
// reach the node service goes on with what it last knew: the mirror's epochs and
// the fence, not this socket, keep the data and the guests safe.
//
//	GET  /v1/state?after=N   the voted state, once its index is above N (at most 25 s)
//	GET  /v1/order?after=N   the newest Order, once its serial is above N (at most 25 s)
//	POST /v1/propose         {"kind": ..., "do": ...}: a command; the result, or an Error
//	PUT  /v1/report/NAME     a service's part of the status
//	GET  /v1/status          status.Node
//
// A poll that ends without news is answered with 204, and the Client asks again.
// Every error is an Error in JSON with an HTTP status: 409 and 400 are refusals,
// 503 says that trying again may help. Bodies have bounds, unknown fields are
// refused. The socket is open to the node's own user; on an appliance, where each
// service has a user of its own, to these, and each may ask for its own part only:
// what it reports, what it proposes, and no passwords of people (403).
package control
