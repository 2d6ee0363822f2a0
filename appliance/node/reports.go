package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
)

// reported is a service's newest part, and when it came.
type reported[T any] struct {
	part T
	at   clock.Instant
	ever bool
}

func (r reported[T]) age(now clock.Instant) time.Duration { return now.Sub(r.at) }

// reports holds the parts of the services of this node.
type reports struct {
	mu      sync.Mutex // guards all below
	block   reported[status.Store]
	vm      reported[[]status.VM]
	citizen reported[status.Citizen]
}

func (r *reports) take(name string, b []byte, now clock.Instant) error {
	switch name {
	case "block":
		return receive(r, &r.block, b, now)
	case "vm":
		return receive(r, &r.vm, b, now)
	case "citizen":
		return receive(r, &r.citizen, b, now)
	}
	return fmt.Errorf("nobody reports as %.40q, use block, vm or citizen", name)
}

func receive[T any](r *reports, to *reported[T], b []byte, now clock.Instant) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var part T
	if err := dec.Decode(&part); err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	if dec.More() {
		return errors.New("read report: more behind the JSON value")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	*to = reported[T]{part: part, at: now, ever: true}
	return nil
}

// seen is a copy of all reports.
type seen struct {
	block   reported[status.Store]
	vm      reported[[]status.VM]
	citizen reported[status.Citizen]
}

func (r *reports) seen() seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return seen{block: r.block, vm: r.vm, citizen: r.citizen}
}

// alive reports whether a QEMU of the VM lives, or is about to.
func alive(v status.VM) bool { return v.PID > 0 || v.State == "starting" }

// local finds a group in the block service's word, if that is fresh enough.
func (s seen) local(id ident.Group, now clock.Instant, bound time.Duration) (status.LocalGroup, bool) {
	if s.block.ever && s.block.age(now) < bound {
		for _, g := range s.block.part.Groups {
			if g.ID == id {
				return g, true
			}
		}
	}
	return status.LocalGroup{}, false
}
