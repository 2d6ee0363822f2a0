package main

import (
	"context"
	"testing"
	"time"

	"beffroi.dev/tools/filing"
	"beffroi.dev/tools/histories/rig"
)

// citizens file reports until they are stopped, as people who know only the service
// address; a clerk reads the list.
type citizens struct {
	*filing.Filer
	clerk  *filing.Clerk
	cancel context.CancelFunc
	ended  chan error
}

// file starts citizens, who file until the end of the test or stop.
func file(t *testing.T, r *rig.Rig) *citizens {
	t.Helper()
	clerk, err := filing.Hire(t.Context(), r.Citizen, r.Enrol)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &citizens{Filer: filing.New(r.Citizen), clerk: clerk, cancel: cancel, ended: make(chan error, 1)}
	go func() { c.ended <- c.Run(ctx, 30*time.Millisecond) }()
	t.Cleanup(func() { c.stop(t) })
	return c
}

// stop may be called again.
func (c *citizens) stop(t *testing.T) {
	t.Helper()
	if c.cancel == nil {
		return
	}
	c.cancel()
	c.cancel = nil
	if err := <-c.ended; err != nil {
		t.Errorf("citizens: %v", err)
	}
}

// goOn waits until three more reports are filed.
func (c *citizens) goOn(t *testing.T, bound time.Duration) {
	t.Helper()
	from := time.Now()
	for c.Since(from) < 3 {
		if time.Since(from) > bound {
			t.Fatalf("%d of 3 reports were acknowledged in %v", c.Since(from), bound)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// readBack stops the citizens; every acknowledged report must be there by its code,
// and once in the agents' list. It returns the longest time between two
// acknowledgements.
func (c *citizens) readBack(t *testing.T) time.Duration {
	t.Helper()
	c.stop(t)
	taken := c.Taken()
	if err := c.Check(t.Context(), taken); err != nil {
		t.Error(err)
	}
	n, err := c.clerk.Audit(t.Context(), c.Filer)
	if err != nil {
		t.Error(err)
	}
	longest := filing.LongestGap(taken, time.Time{})
	t.Logf("%d reports acknowledged, each there once among the %d of the agents' list; longest time between two: %.2f s", len(taken), n, longest.Seconds())
	return longest
}
