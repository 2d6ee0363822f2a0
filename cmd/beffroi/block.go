package main

import (
	"runtime/debug"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/store"
	"beffroi.dev/pkg/block/volume"
)

func runBlock(e *environment) error {
	debug.SetGCPercent(volume.GCPercent)
	return store.Run(e.ctx, e.dir, e.node, control.NewClient(e.dir.Socket("node")), e.sockets, store.Parent{Ready: e.ready, Busy: e.busy}, e.log)
}
