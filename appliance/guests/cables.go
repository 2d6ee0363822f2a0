package guests

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// tidyEvery is how often taps without a guest are looked for beside the ends of guests
// that are seen: one may have ended while there was no vm service.
const tidyEvery = 10 * time.Second

// cables are the taps of the machines here: made before a start, removed after an end.
// Who makes them refuses to remove what a QEMU has open, so what is not known here (a
// folder that cannot be read, a machine of an earlier life) stays connected.
type cables struct {
	taps  Taps // nil: there are none
	log   *slog.Logger
	alive chan []ident.VM // the newest

	mu   sync.Mutex       // guards held, and is held while taps are removed
	held map[ident.VM]int // starts under way
}

func newCables(t Taps, log *slog.Logger) *cables {
	return &cables{taps: t, log: log, alive: make(chan []ident.VM, 1), held: map[ident.VM]int{}}
}

// hold keeps the taps of a machine that starts, until it is released: by then its QEMU
// has them open, or is gone.
func (c *cables) hold(id ident.VM) (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[id]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.held[id]--; c.held[id] == 0 {
			delete(c.held, id)
		}
	}
}

// plug has the taps of a VM made, and says what its cards are on them.
func (c *cables) plug(ctx context.Context, v cluster.VM) ([]qemu.Card, error) {
	if c.taps == nil || len(v.Cards) == 0 {
		return nil, nil
	}
	links, err := c.taps.Plug(ctx, v.ID)
	if err != nil {
		return nil, fmt.Errorf("network of %s: %w", v.Name, err)
	}
	if len(links) != len(v.Cards) {
		return nil, fmt.Errorf("network of %s: %d taps for %d cards: their number was changed just now", v.Name, len(links), len(v.Cards))
	}
	var cards []qemu.Card
	for i, card := range v.Cards {
		cards = append(cards, qemu.Card{Link: links[i], MAC: card.MAC})
	}
	return cards, nil
}

// see notes what lives now, in place of what was not looked at yet.
func (c *cables) see(alive []ident.VM) {
	for {
		select {
		case c.alive <- alive:
			return
		default:
		}
		select {
		case <-c.alive:
		default:
		}
	}
}

// run removes the taps of what lives no more.
func (c *cables) run(ctx context.Context) error {
	if c.taps == nil {
		return nil
	}
	var last []ident.VM
	var at time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case alive := <-c.alive:
			if slices.Equal(alive, last) && time.Since(at) < tidyEvery {
				continue
			}
			if err := c.tidy(ctx, alive); err != nil && ctx.Err() == nil {
				c.log.Warn("taps of guests that have ended stay for now", "cause", err)
			}
			last, at = alive, time.Now()
		}
	}
}

func (c *cables) tidy(ctx context.Context, alive []ident.VM) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, err := c.taps.List(ctx)
	if err != nil {
		return err
	}
	for _, id := range list {
		if c.held[id] > 0 || slices.Contains(alive, id) {
			continue
		}
		if err := c.taps.Unplug(ctx, id); err != nil { // it lives after all: a later look will tell
			c.log.Info("taps stay", "id", id, "cause", err)
		}
	}
	return nil
}
