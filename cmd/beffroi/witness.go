package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

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
		next = follow(bound, e, w)
		return nil
	})
	err = errors.Join(w.Run(ctx), tasks.Stop(stopBound))
	return next, err
}

// follow waits for other members, and keeps them.
func follow(ctx context.Context, e *environment, w *witness.Witness) *config.Node {
	var after uint64
	for ctx.Err() == nil {
		st, err := w.Watch(ctx, after)
		if err != nil {
			return nil
		}
		next, ok := e.node.Follow(st)
		if !ok {
			after = st.Index
			continue
		}
		err = config.Save(e.dir, next)
		if err == nil {
			return next
		}
		e.log.Error("another machine has taken a lost node's place; the configuration that says so cannot be kept yet", "cause", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}
