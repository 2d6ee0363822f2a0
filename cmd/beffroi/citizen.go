package main

import (
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/town"
)

func runCitizen(e *environment) error {
	return town.Run(e.ctx, e.dir, e.node, control.NewClient(e.dir.Socket("node")), e.ready, e.log)
}
