package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/quorum/witness"
	"beffroi.dev/pkg/task"
)

// runWitness votes, and answers GET /status on its socket. It follows the members that
// are voted: when another machine has taken a lost node's place, it starts again with
// that one's key, in the same process, because nobody may be there to start it.
func runWitness(e *environment) error {
	if err := os.MkdirAll(e.dir.Run(), 0o700); err != nil {
		return fmt.Errorf("make run folder: %w", err)
	}
	for {
		next, err := witnessOnce(e)
		if err != nil || next == nil {
			return err
		}
		e.log.Info("another machine has taken a lost node's place; this witness starts again with its key")
		e.node = next
	}
}

// witnessOnce votes until the witness is to end, or until its members have changed and
// the configuration says so durably: it is returned then.
func witnessOnce(e *environment) (*config.Node, error) {
	key, err := config.LoadKey(e.dir)
	if err != nil {
		return nil, err
	}
	timing, err := lease.Profile(e.node.Profile)
	if err != nil {
		return nil, err
	}
	w, err := witness.Start(e.ctx, witness.Config{
		Folder: e.dir.Vote(), Transport: e.node.VoteTransport(key), Timing: timing, Genesis: e.node.Genesis(),
		Status: "unix:" + e.dir.Socket("witness"),
	}, clock.System{}, e.log)
	if err != nil {
		return nil, err
	}
	e.ready()
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	tasks := task.New(e.ctx)
	var next *config.Node
	tasks.Go("members", func(bound context.Context) error {
		defer cancel()
		next = e.node.AwaitMembers(bound, w.Watch, func(n *config.Node) error { return config.Save(e.dir, n) }, e.log)
		return nil
	})
	err = errors.Join(w.Run(ctx), tasks.Stop(stopBound))
	return next, err
}
