package boot

import (
	"context"
	"errors"
	"sync"
	"time"

	"beffroi.dev/appliance/pairing"
	"beffroi.dev/pkg/host/netcfg"
)

// trialFor is how long a network is tried without a word from its person: whoever
// sits before a serial line sees it in time; whoever has cut off his own session
// gets it back.
const trialFor = 60 * time.Second

// lanTrial is a network that is applied and not yet kept. The clock is its caller's.
type lanTrial struct {
	apply func(context.Context, netcfg.Config) error
	save  func(netcfg.Config) error

	mu            sync.Mutex // guards the rest
	before, tried *netcfg.Config
	until         time.Time
}

var errNotNow = &pairing.Fault{Reason: pairing.NotNow}

// begin applies a network. One that the kernel refuses is undone at once.
func (t *lanTrial) begin(ctx context.Context, before, tried netcfg.Config, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tried != nil {
		return errNotNow
	}
	if err := t.apply(ctx, tried); err != nil {
		return errors.Join(err, t.apply(ctx, before))
	}
	t.before, t.tried, t.until = &before, &tried, now.Add(trialFor)
	return nil
}

// tick undoes what nobody has kept in time.
func (t *lanTrial) tick(ctx context.Context, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tried == nil || now.Before(t.until) {
		return nil
	}
	return t.back(ctx)
}

// keep saves what is tried. When it cannot be saved, it stays a trial.
func (t *lanTrial) keep() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tried == nil {
		return errNotNow
	}
	if err := t.save(*t.tried); err != nil {
		return err
	}
	t.before, t.tried = nil, nil
	return nil
}

func (t *lanTrial) undo(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tried == nil {
		return errNotNow
	}
	return t.back(ctx)
}

// back applies what was before; until that succeeds it is tried at every tick.
func (t *lanTrial) back(ctx context.Context) error {
	if err := t.apply(ctx, *t.before); err != nil {
		return err
	}
	t.before, t.tried = nil, nil
	return nil
}

// drop forgets a trial: another network is about to be applied.
func (t *lanTrial) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.before, t.tried = nil, nil
}

// aside makes another change of the network, unless one is tried: what is tried says
// what would be undone and kept.
func (t *lanTrial) aside(change func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tried != nil {
		return errNotNow
	}
	return change()
}

// left is how long a trial still has; 0 when nothing is tried.
func (t *lanTrial) left(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tried == nil {
		return 0
	}
	return max(t.until.Sub(now), time.Second)
}
