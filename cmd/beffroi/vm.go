package main

import (
	"fmt"
	"os"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/guests"
)

// runVM is ready once its socket is bound: finding the guests that live already
// may take a while, and is no reason to be killed.
func runVM(e *environment) error {
	if err := os.MkdirAll(e.dir.Run(), 0o700); err != nil {
		return fmt.Errorf("make run folder: %w", err)
	}
	l, err := control.Listen(e.dir.Socket("vm"))
	if err != nil {
		return err
	}
	e.ready()
	return guests.Run(e.ctx, guests.Config{Dir: e.dir, Self: e.node.Self, QEMU: e.node.Guests, Listener: l}, control.NewClient(e.dir.Socket("node")), e.log)
}
