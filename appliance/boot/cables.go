package boot

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/firewall"
	"beffroi.dev/pkg/host/netcfg/probe"
	"beffroi.dev/pkg/task"
)

// cablesEvery is the time between two looks at what the probe found.
const cablesEvery = 2 * time.Second

// probeCables says which cable is plugged where, and follows fibres that were plugged
// elsewhere, for as long as init lives, once.
func (s *system) probeCables() {
	if s.probing {
		return
	}
	s.probing = true
	s.tasks.Go("cables", func(ctx context.Context) error {
		seen := &sighting{from: map[string]string{}}
		for ctx.Err() == nil {
			if err := s.watchCables(ctx, seen); err != nil {
				s.log.Error("which cable is plugged where is not watched; trying again", "cause", err)
				wait(ctx, retry)
			}
		}
		return nil
	})
}

// watchCables probes the cards in the roles that they have now, until a fibre gets
// another card, or a card has appeared.
func (s *system) watchCables(ctx context.Context, seen *sighting) error {
	cfg, err := LoadNetwork(s.dir)
	if err != nil {
		return err
	}
	cards, err := netcfg.Cards(false)
	if err != nil {
		return fmt.Errorf("probe cables: %w", err)
	}
	roles, faults := netcfg.Assign(cards, cfg)
	w, err := probe.New(probe.Config{Pair: s.node.Pair[:], Node: uint64(s.node.Self), Ports: ports(cards, roles, cfg)}, s.log.With("room", "cables"))
	if err != nil {
		return err
	}
	tasks := task.New(ctx)
	tasks.Go("cable probe", w.Run)
	seen.cardless = len(s.net.Status().Faults) // as the kernel was told, not as it is by now
	s.tellCables(ctx, w, seen, cfg, faults)
	return tasks.Stop(stopBound)
}

// ports are all cards, those without a role too: a fibre may be plugged into one.
func ports(cards []netcfg.Card, roles netcfg.Roles, cfg netcfg.Config) []probe.Port {
	var all []probe.Port
	for _, c := range cards {
		p := probe.Port{Card: c.Name, MAC: c.MAC}
		for role, card := range roles {
			if card.Name == c.Name {
				p.Role = probe.RoleOf(role)
			}
		}
		if i := slices.IndexFunc(cfg.Fibres, func(f netcfg.Fibre) bool { return probe.RoleOf(f.Name) == p.Role }); i >= 0 {
			p.MTU = cfg.Fibres[i].MTU
		}
		all = append(all, p)
	}
	return all
}

// tellCables writes down what was found, when it changes, until a fibre got another card,
// a card has appeared, or ctx ends. The faults are of roles that have no card.
func (s *system) tellCables(ctx context.Context, w *probe.Watcher, seen *sighting, cfg netcfg.Config, faults []netcfg.Fault) {
	var told []status.Cable
	for wait(ctx, cablesEvery); ctx.Err() == nil; wait(ctx, cablesEvery) {
		if cards, err := netcfg.Cards(false); err == nil && seen.appeared(cards, cfg) && time.Now().After(seen.again) {
			if s.useCards(ctx) {
				return
			}
			seen.again = time.Now().Add(restAfter)
		}
		reports, err := w.Report()
		if err != nil {
			s.log.Warn("what is plugged where is not known", "cause", err)
			continue
		}
		if found := probe.Found(uint64(s.node.Self), reports); seen.sure(time.Now(), found) && s.follow(ctx, found, seen.from) {
			return
		}
		list := append(cables(reports, seen.from), cardless(faults)...)
		if reflect.DeepEqual(list, told) {
			continue
		}
		if err := status.SaveCables(s.dir.Cables(), list); err != nil {
			s.log.Warn("what is plugged where cannot be told", "cause", err)
			continue
		}
		told = list
		for _, c := range list {
			for _, f := range c.Faults {
				s.log.Warn("cable", "role", c.Role, "card", c.Card, "fault", f.Code, "means", f.Text)
			}
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// cables words what the probe found. What carries nothing and has no role is nobody's
// business.
func cables(reports []probe.Report, from map[string]string) []status.Cable {
	var all []status.Cable
	for _, r := range reports {
		c := status.Cable{Role: r.Role, Card: r.Card, Carrier: r.Carrier, Speed: r.Speed, Twin: r.Peer != 0, MTU: r.MTU, Passed: r.MTUVerified}
		if c.From = from[r.Role]; c.From == r.Card {
			c.From = ""
		}
		for _, f := range r.Faults {
			c.Faults = append(c.Faults, status.Flaw{Code: string(f.Kind), Text: f.Text})
		}
		if r.Role == probe.None.String() {
			c.Role = ""
			if len(c.Faults) == 0 {
				continue
			}
		}
		all = append(all, c)
	}
	return all
}

// cardless words the roles that have no card.
func cardless(faults []netcfg.Fault) (all []status.Cable) {
	for _, f := range faults {
		all = append(all, status.Cable{Role: f.Role, Faults: []status.Flaw{{Code: string(probe.NoCard), Text: f.Error()}}})
	}
	return all
}

// useCards brings the network up on the cards that are there now, and reports whether
// that succeeded.
func (s *system) useCards(ctx context.Context) bool {
	err := s.lan.aside(func() error {
		cfg, err := LoadNetwork(s.dir)
		if err != nil {
			return err
		}
		if _, had := s.net.Status().Roles[netcfg.RoleLan]; !had {
			return s.applyNetwork(ctx, cfg) // the bridge gets another MAC, and DHCP asks with that
		}
		if err := firewall.Install(s.walls(cfg)); err != nil {
			return err
		}
		defer s.reroute()
		if _, err := s.net.Apply(ctx, cfg); err != nil {
			return err
		}
		if cfg.Lan.Mode == netcfg.ModeDHCP { // an earlier try may have ended the client
			return s.lease(cfg)
		}
		return nil
	})
	if err != nil {
		s.log.Warn("a card has appeared, and is not used yet; trying again", "cause", err)
		return false
	}
	s.log.Info("a card has appeared; the network is brought up on it")
	return true
}
