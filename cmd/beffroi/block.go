package main

import (
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/store"
)

func runBlock(e *environment) error {
	return store.Run(e.ctx, e.dir, e.node, control.NewClient(e.dir.Socket("node")), e.ready, e.log)
}
