package main

import (
	"fmt"
	"os"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/quorum/witness"
)

// runWitness votes, and answers GET /status on its socket.
func runWitness(e *environment) error {
	key, err := config.LoadKey(e.dir)
	if err != nil {
		return err
	}
	timing, err := lease.Profile(e.node.Profile)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(e.dir.Run(), 0o700); err != nil {
		return fmt.Errorf("make run folder: %w", err)
	}
	w, err := witness.Start(e.ctx, witness.Config{
		Folder: e.dir.Vote(), Transport: e.node.VoteTransport(key), Timing: timing, Genesis: e.node.Genesis(),
		Status: "unix:" + e.dir.Socket("witness"),
	}, clock.System{}, e.log)
	if err != nil {
		return err
	}
	e.ready()
	return w.Run(e.ctx)
}
