package node

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/fence"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
)

// loop turns what is seen into orders, claims and renewals, at every report,
// every voted change and every beat.
func (s *Service) loop(ctx context.Context) error {
	defer s.init.Close()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	voted := make(chan struct{}, 1)
	s.tasks.Go("state watcher", func(ctx context.Context) error {
		var after uint64
		for {
			st, err := s.node.Watch(ctx, after)
			if err != nil {
				return nil // the vote stops, and Run with it
			}
			after = st.Index
			select {
			case voted <- struct{}{}:
			default:
			}
		}
	})
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.wake:
		case <-voted:
		case id := <-s.claimed:
			delete(s.claiming, id)
		}
		s.turn()
	}
}

func (s *Service) turn() {
	now := s.clock.Now()
	// What ran out while this process stood still comes before anything else.
	s.own.do(func(c *claims) { c.look(now) })
	state, seen := s.node.State(), s.reports.seen()
	vouched, ever := s.node.Vouched()
	silence, quiet := s.node.Silences()
	out := exposed(state, s.cfg.Self, seen)
	var held map[ident.VM]uint64
	s.own.do(func(c *claims) {
		c.renew(now, vouched, ever, out)
		held = maps.Clone(c.held)
	})
	before := s.orders.newest()
	order, want := decide(&sight{
		timing: s.timing, now: now, state: state, self: s.cfg.Self, vouched: vouched, ever: ever,
		silence: silence, quiet: quiet, reports: seen, held: held, holds: before.Address,
	})
	holds := order.Address || before.Address || seen.citizen.ever && seen.citizen.part.Serving
	if before.Serial == 0 { // a former life may have let the citizen service hold it
		holds = holds || s.told.Address
	}
	// init knows of the address before anybody may take it.
	s.renew(now, vouched, ever, out, holds && lease.AddressExposed(state, s.cfg.Self))
	// Without a leader the voted state may be older than what this node knew in its
	// former life.
	informed := ever && seen.block.ever && s.node.Leader() != 0
	if before.Serial == 0 && !informed && now.Sub(s.born) < firstOrderBound {
		return
	}
	if s.orders.publish(order, now) {
		s.announce(before, order)
	}
	for i := range want {
		s.claim(&want[i])
	}
}

// announce logs what an operator would want to know.
func (s *Service) announce(old, order control.Order) {
	if old.Vouched != order.Vouched {
		s.log.Info("majority", "old", old.Vouched, "new", order.Vouched)
	}
	if old.Address != order.Address {
		s.log.Info("service address", "old", old.Address, "new", order.Address)
	}
	if !slices.Equal(old.Run, order.Run) {
		s.log.Info("guests to run", "old", old.Run, "new", order.Run)
	}
}

// renew tells init, when there is something new or it was not told for a while:
// it may have been started anew.
func (s *Service) renew(now, vouched clock.Instant, ever bool, out []ident.VM, address bool) {
	r := fence.Renewal{Vouched: vouched, Ever: ever, Guests: []fence.Guest{}, Address: address}
	state := s.node.State()
	for _, id := range out {
		name := state.VMs[id].Name
		for _, v := range s.reports.seen().vm.part {
			if v.ID == id && name == "" { // deleted, and not dead yet
				name = v.Name
			}
		}
		if name != "" {
			r.Guests = append(r.Guests, fence.Guest{Name: name, Folder: s.guestFolder(name)})
		}
	}
	if reflect.DeepEqual(r, s.told) && now.Sub(s.toldAt) < s.timing.Renew {
		return
	}
	// Without an init, by hand, nobody listens; the guard of a real one passes by
	// itself when it hears nothing.
	if err := s.init.Send(r); err == nil {
		s.told, s.toldAt = r, now
	}
}

// claim proposes a placement here, one at a time for each VM.
func (s *Service) claim(a *cluster.PlaceVM) {
	if s.claiming[a.VM] {
		return
	}
	s.claiming[a.VM] = true
	s.tasks.Go("claim", func(ctx context.Context) error {
		bound, cancel := context.WithTimeout(ctx, claimBound)
		defer cancel()
		if _, err := s.votes.Propose(bound, a); err != nil && !errors.Is(err, cluster.ErrRefused) {
			s.log.Warn("claim undecided", "vm", a.VM, "cause", err)
		}
		select {
		case s.claimed <- a.VM:
		case <-ctx.Done():
		}
		return nil
	})
}
