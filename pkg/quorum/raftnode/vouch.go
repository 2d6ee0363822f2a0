package raftnode

import (
	"context"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
)

// The node's renewals stand apart from its loop, which may wait for a disk:
// vouching must not.

// renew asks all voters, again and again.
func (n *Node) renew(ctx context.Context) error {
	tick := time.NewTicker(n.cfg.Timing.Renew)
	defer tick.Stop()
	for {
		n.vouch.Lock()
		ask := n.renewal.Ask(n.clock.Now())
		n.vouch.Unlock()
		for _, v := range n.renewal.Others() {
			n.send.SendControl(v, ask)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// receiveRenewal answers at once, on the transport's goroutine.
func (n *Node) receiveRenewal(from ident.Node, msg []byte) {
	n.vouch.Lock()
	back, err := n.renewal.Receive(from, msg, n.clock.Now())
	n.vouch.Unlock()
	if err != nil {
		n.dropped.Add(1)
	} else if back != nil {
		n.send.SendControl(from, back)
	}
}

// Vouched returns since when a majority vouches for this node; false: never yet.
func (n *Node) Vouched() (clock.Instant, bool) {
	n.vouch.Lock()
	defer n.vouch.Unlock()
	return n.renewal.Vouched()
}

// Answered is Renewal.Answered.
func (n *Node) Answered(by ident.Node) (clock.Instant, bool) {
	n.vouch.Lock()
	defer n.vouch.Unlock()
	return n.renewal.Answered(by)
}

// Silences is Renewal.Silences, now.
func (n *Node) Silences() (silence, quiet map[ident.Node]time.Duration) {
	n.vouch.Lock()
	defer n.vouch.Unlock()
	return n.renewal.Silences(n.clock.Now())
}

// Seek is Renewal.Seek, now.
func (n *Node) Seek(primary ident.Node) bool {
	n.vouch.Lock()
	defer n.vouch.Unlock()
	return n.renewal.Seek(primary, n.clock.Now())
}

// Release is Renewal.Release.
func (n *Node) Release(primary ident.Node) {
	n.vouch.Lock()
	defer n.vouch.Unlock()
	n.renewal.Release(primary)
}
