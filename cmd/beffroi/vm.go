package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/boot"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/guests"
	"beffroi.dev/appliance/tap"
	"beffroi.dev/pkg/host/account"
)

// runVM is ready once its socket is bound: finding the guests that live already
// may take a while, and is no reason to be killed.
func runVM(e *environment) error {
	if err := os.MkdirAll(e.dir.Run(), 0o700); err != nil {
		return fmt.Errorf("make run folder: %w", err)
	}
	l, err := e.sockets.Unix("vm", e.dir.Socket("vm"))
	if err != nil {
		return err
	}
	apart := os.Getuid() == int(account.VM) // init has given this service its user, so guests get theirs
	if apart {
		unix.Umask(0o007) // what QEMU makes is for this service too
	}
	cfg := guests.Config{Dir: e.dir, Self: e.node.Self, QEMU: e.node.Guests, Apart: apart, Listener: l}
	if apart && e.dir == boot.Dir { // there init has the right to the network; elsewhere nobody
		cfg.Taps = tap.NewClient(e.dir.Socket("tap"))
	}
	e.ready()
	return guests.Run(e.ctx, cfg, control.NewClient(e.dir.Socket("node")), e.log)
}
