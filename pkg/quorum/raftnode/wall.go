package raftnode

import (
	"context"
	"time"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/timekeeper"
)

// tellWall tells the other voters what this one's clock shows, again and again.
func (n *Node) tellWall(ctx context.Context) error {
	tick := time.NewTicker(timekeeper.Every)
	defer tick.Stop()
	for {
		msg := encodeWall(n.clock.Wall())
		for _, v := range n.renewal.Others() {
			n.send.SendControl(v, msg)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (n *Node) receiveWall(from ident.Node, msg []byte) {
	shown, err := decodeWall(msg)
	if err != nil {
		n.dropped.Add(1)
		return
	}
	n.wall.Lock()
	defer n.wall.Unlock()
	n.keeper.Heard(from, shown, n.clock.Now())
}

// Clock says what the other voters' clocks mean for this one; guess tells that this
// one's was set to a guess.
func (n *Node) Clock(guess bool) timekeeper.Verdict {
	n.wall.Lock()
	defer n.wall.Unlock()
	return n.keeper.Judge(n.clock.Wall(), guess, n.clock.Now())
}
