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
// Every error is an Error in JSON with an HTTP status.
package control

import "beffroi.dev/pkg/ident"

// Order is what a node should do now. The node service computes it from the
// voted state and from what it observes.
type Order struct {
	Serial  uint64    `json:"serial"`
	Vouched bool      `json:"vouched"` // a majority vouches for this node
	Address bool      `json:"address"` // hold the service address, and serve citizens
	Run     []VMOrder `json:"run"`     // VMs that should run here; all others should not
}

// VMOrder lets a VM run here, under one generation.
type VMOrder struct {
	VM         ident.VM `json:"vm"`
	Generation uint64   `json:"generation"`
}

// Error is a refusal or a failure as the sockets carry it.
type Error struct {
	Message string `json:"error"`
	Refused bool   `json:"refused"` // by the rules of the pair: trying again does not help
}

func (e *Error) Error() string { return e.Message }
