package main

import (
	"errors"
	"os"

	"beffroi.dev/appliance/address"
	"beffroi.dev/appliance/boot"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/town"
)

func runCitizen(e *environment) error {
	var addr town.Address // nil where the node is a process of somebody's machine
	switch _, err := os.Stat(e.dir.Socket("address")); {
	case err == nil && e.dir == boot.Dir:
		addr = address.NewClient(e.dir.Socket("address"))
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	return town.Run(e.ctx, e.dir, e.node, control.NewClient(e.dir.Socket("node")), addr, e.sockets, e.ready, e.log)
}
