package control

import (
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

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

// Unwrap lets errors.Is find cluster.ErrRefused.
func (e *Error) Unwrap() error {
	if e.Refused {
		return cluster.ErrRefused
	}
	return nil
}
