package main

import (
	"fmt"
	"os"

	"beffroi.dev/appliance/console"
	"beffroi.dev/appliance/control"
)

func runConsole(e *environment) error {
	if err := os.MkdirAll(e.dir.Run(), 0o700); err != nil {
		return fmt.Errorf("make run folder: %w", err)
	}
	return console.Run(e.ctx, e.dir, e.node, control.NewClient(e.dir.Socket("node")), e.sockets, e.ready, e.log)
}
