package node

import (
	"context"
	"slices"
	"sync"

	"beffroi.dev/appliance/control"
	"beffroi.dev/pkg/clock"
)

// orders publishes the newest order.
type orders struct {
	mu      sync.Mutex // guards all below
	order   control.Order
	changed chan struct{} // closed and replaced with each new order
}

// publish gives out an order that differs from the last. Serials come from the
// machine's clock: those of a next life are higher, without anything kept.
func (o *orders) publish(next control.Order, now clock.Instant) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.order.Serial != 0 && same(o.order, next) {
		return false
	}
	next.Serial = max(o.order.Serial+1, uint64(now))
	o.order = next
	close(o.changed)
	o.changed = make(chan struct{})
	return true
}

func same(a, b control.Order) bool {
	return a.Vouched == b.Vouched && a.Address == b.Address && slices.Equal(a.Run, b.Run)
}

func (o *orders) newest() control.Order {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.order
}

// Order implements control.Orders.
func (o *orders) Order(ctx context.Context, after uint64) (control.Order, error) {
	for {
		o.mu.Lock()
		order, changed := o.order, o.changed
		o.mu.Unlock()
		if order.Serial > after {
			return order, nil
		}
		select {
		case <-ctx.Done():
			return order, ctx.Err()
		case <-changed:
		}
	}
}
