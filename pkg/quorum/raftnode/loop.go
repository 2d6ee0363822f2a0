package raftnode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"beffroi.dev/pkg/quorum/cluster"
)

// loop owns the voter: it takes one event, and those that wait behind it, and
// then does what the voter wants done. It ends when the voter must stop for
// good: a failed disk, or a contradiction.
func (n *Node) loop(ctx context.Context) error {
	tick := time.NewTicker(n.cfg.Timing.Tick) // drops ticks while we are late: no burst after a pause
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			err = n.voter.Tick()
		case m := <-n.inbox:
			err = n.step(m)
		case p := <-n.proposals:
			err = n.propose(p)
		case to := <-n.transfers:
			err = n.voter.Transfer(to)
		}
		if err == nil {
			err = n.drain()
		}
		if err == nil {
			err = n.work()
		}
		if err != nil {
			n.log.Error("the vote stops", "cause", err)
			return err
		}
	}
}

// drain takes what waits, so that it shares one flush.
func (n *Node) drain() error {
	for range batchSize {
		var err error
		select {
		case m := <-n.inbox:
			err = n.step(m)
		case p := <-n.proposals:
			err = n.propose(p)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step hands a message to the voter; what is wrong with the message alone is
// counted and forgotten.
func (n *Node) step(m inbound) error {
	err := n.voter.Step(m.from, m.msg)
	if err != nil && !errors.Is(err, ErrBroken) {
		n.dropped.Add(1)
		return nil
	}
	return err
}

func (n *Node) propose(b []byte) error {
	if err := n.voter.Propose(b); err != nil && !errors.Is(err, ErrDropped) {
		return err
	}
	return nil
}

// work does all that the voter wants done: persist, send, tell.
func (n *Node) work() error {
	var applied []Applied
	changed := false
	for {
		w, have, err := n.voter.Work()
		if err != nil {
			return err
		}
		if !have {
			break
		}
		if !w.Persist.Empty() {
			if err := n.store.Persist(w.Persist); err != nil {
				return fmt.Errorf("persist votes: %w", err)
			}
		}
		for _, m := range w.Messages {
			n.send.SendControl(m.To, append([]byte{tagRaft}, m.Bytes...))
		}
		if err := n.voter.Done(); err != nil {
			return err
		}
		applied = append(applied, w.Applied...)
		changed = changed || w.Installed || len(w.Applied) > 0
	}
	n.stand()
	if changed {
		n.publish(applied)
	}
	return nil
}

// stand publishes the voter's standing, and logs its changes.
func (n *Node) stand() {
	now, was := n.voter.Standing(), n.standing.Load()
	if now == *was {
		return
	}
	n.standing.Store(&now)
	if now.Leader != was.Leader || now.Role != was.Role {
		n.log.Info("vote", "role", now.Role, "old_role", was.Role, "leader", now.Leader, "old_leader", was.Leader, "term", now.Term)
	}
}

// publish makes the new state visible and answers who waits for a result. A
// result may also have come with a snapshot.
func (n *Node) publish(applied []Applied) {
	s := n.voter.State().Clone()
	n.state.Store(s)
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.changed)
	n.changed = make(chan struct{})
	if len(n.waiting) == 0 {
		return
	}
	for _, a := range applied {
		n.answer(a.ID, a.Result)
	}
	for _, r := range s.Recent {
		n.answer(r.ID, r.Result)
	}
}

// answer is called with mu held.
func (n *Node) answer(id cluster.ProposalID, r cluster.Result) {
	if c := n.waiting[id]; c != nil {
		c <- r
		delete(n.waiting, id)
	}
}
