package boot

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/probe"
)

// cablesEvery is the time between two looks at what the probe found.
const cablesEvery = 2 * time.Second

// probeCables says which cable is plugged where, for as long as init lives, once.
func (s *system) probeCables(cfg netcfg.Config) error {
	if s.probing {
		return nil
	}
	cards, err := netcfg.Cards(false)
	if err != nil {
		return fmt.Errorf("probe cables: %w", err)
	}
	roles, _ := netcfg.Assign(cards, cfg) // Apply has told what is wrong with them
	w, err := probe.New(probe.Config{Pair: s.node.Pair[:], Node: uint64(s.node.Self), Ports: ports(cards, roles, cfg)}, s.log.With("room", "cables"))
	if err != nil {
		return err
	}
	s.probing = true
	s.tasks.Go("cable probe", w.Run)
	s.tasks.Go("cables", func(ctx context.Context) error { return s.tellCables(ctx, w) })
	return nil
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

// tellCables writes down what was found, when it changes.
func (s *system) tellCables(ctx context.Context, w *probe.Watcher) error {
	var told []status.Cable
	for tick := time.NewTicker(cablesEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-tick.C:
		}
		reports, err := w.Report()
		if err != nil {
			s.log.Warn("what is plugged where is not known", "cause", err)
			continue
		}
		found := cables(reports)
		if reflect.DeepEqual(found, told) {
			continue
		}
		if err := status.SaveCables(s.dir.Cables(), found); err != nil {
			s.log.Warn("what is plugged where cannot be told", "cause", err)
			continue
		}
		told = found
		for _, c := range found {
			for _, f := range c.Faults {
				s.log.Warn("cable", "role", c.Role, "card", c.Card, "fault", f.Code, "means", f.Text)
			}
		}
	}
}

// cables words what the probe found. What carries nothing and has no role is nobody's
// business.
func cables(reports []probe.Report) []status.Cable {
	var all []status.Cable
	for _, r := range reports {
		c := status.Cable{Role: r.Role, Card: r.Card, Carrier: r.Carrier, Speed: r.Speed, Twin: r.Peer != 0, MTU: r.MTU, Passed: r.MTUVerified}
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
