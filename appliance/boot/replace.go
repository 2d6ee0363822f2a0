package boot

import (
	"context"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/pkg/host/netcfg/firewall"
	"beffroi.dev/pkg/ident"
)

// pair is what the engine of a replacement asks this node's services.
func (s *system) pair() pairing.Pair {
	ctl := control.NewClient(s.dir.Socket("node"))
	return pairing.Pair{Votes: ctl, Up: func(ctx context.Context, id ident.Node) bool {
		st, err := ctl.Status(ctx)
		if err != nil {
			return false
		}
		for _, m := range st.Members {
			if m.ID == id {
				return m.Up
			}
		}
		return false
	}}
}

// replace carries out what the console asks about a new machine in the twin's place.
func (d desk) replace(ctx context.Context, a operator.Ask) error {
	if !d.paired() || d.node == nil || d.tasks == nil {
		return errNotNow
	}
	if a.Do == operator.Look {
		return d.seekMachine()
	}
	e := d.pairing.Load()
	if e == nil || !d.looking.Load() {
		return errNotNow
	}
	return e.Replace(ctx, d.pair(), a.Code, a.Address)
}

// seekMachine opens the door of the pairing and hears the machines that wait for a pair,
// until it is too late for one and nothing is left to do.
func (s *system) seekMachine() error {
	if err := s.newEngine(); err != nil {
		return err
	}
	s.seeking.Lock()
	defer s.seeking.Unlock()
	e := s.pairing.Load()
	e.Look()
	if s.looking.Load() {
		return nil // it hears them, and now for longer
	}
	if err := s.openPairing(true); err != nil {
		s.looking.Store(false)
		return err
	}
	s.tasks.Go("replacement", func(ctx context.Context) error {
		for {
			if err := e.Replacing(ctx, s.pair()); err != nil {
				s.log.Error("the replacement of the twin did not end well", "cause", err)
			}
			if s.endSeeking(ctx, e) {
				return nil
			}
		}
	})
	return nil
}

// endSeeking shuts the door, unless somebody has asked anew meanwhile.
func (s *system) endSeeking(ctx context.Context, e *pairing.Engine) bool {
	s.seeking.Lock()
	defer s.seeking.Unlock()
	if ctx.Err() == nil && e.Looks() {
		return false
	}
	if err := s.openPairing(false); err != nil {
		s.log.Error("the pairing's port stays open on this node", "cause", err)
	}
	return true
}

// openPairing opens the port of the pairing in the walls of a founded node, or shuts it.
// Whoever else puts the walls up meanwhile leaves it as it is.
func (s *system) openPairing(open bool) error {
	cfg, err := s.currentNetwork()
	if err != nil {
		return err
	}
	s.looking.Store(open)
	return firewall.Install(s.walls(cfg))
}

// finishReplacement goes on, beside the services, with what a former life has begun.
func (s *system) finishReplacement() {
	if !pairing.ReplacementBegun(s.dir) {
		return
	}
	if err := s.seekMachine(); err != nil {
		s.log.Error("the replacement of the twin, which was begun, does not go on", "cause", err)
	}
}
