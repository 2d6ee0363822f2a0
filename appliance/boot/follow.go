package boot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/firewall"
)

const (
	// sureAfter is how long fibres must be found in the same cards before they are
	// followed: whoever stands there with a cable in the hand is not disturbed, and sees
	// on the screen what is wrong.
	sureAfter = 20 * time.Second
	// restAfter is the time from one attempt to the next one.
	restAfter = time.Minute
)

// sighting is where fibres were found, and for how long without a change.
type sighting struct {
	what        map[string]string
	since, last time.Time
	rest        time.Time         // no attempt before
	from        map[string]string // by fibre that was followed: the card in which it was first looked for
	cardless    int               // how many roles had no card
	again       time.Time         // when a card that appeared may be tried again
}

// appeared reports whether roles have their cards that had none: a card that is slow, or
// that was gone for a while. It does so at every look until what is seen begins anew.
func (s *sighting) appeared(cards []netcfg.Card, cfg netcfg.Config) bool {
	_, faults := netcfg.Assign(cards, cfg)
	if len(faults) < s.cardless {
		return true
	}
	s.cardless = len(faults)
	return false
}

// sure takes what is found now, and reports whether it is time to follow.
func (s *sighting) sure(now time.Time, found map[string]string) bool {
	slept := now.Sub(s.last) > 3*cablesEvery // what was heard before is old
	s.last = now
	if len(found) == 0 || slept || !maps.Equal(found, s.what) {
		s.what, s.since = maps.Clone(found), now
		return false
	}
	if now.Sub(s.since) < sureAfter || now.Before(s.rest) {
		return false
	}
	s.rest = now.Add(restAfter)
	return true
}

// moved are the fibres whose port differs, by the card that each had.
func moved(before, after netcfg.Config, roles netcfg.Roles) map[string]string {
	all := map[string]string{}
	for i, f := range before.Fibres {
		if after.Fibres[i].Port != f.Port {
			all[f.Name] = roles[f.Name].Name
		}
	}
	return all
}

// busy names a fibre of these over which a session with another node lives.
func busy(links []status.Link, fibres map[string]string) string {
	for _, l := range links {
		if _, ok := fibres[l.Path]; ok && l.Up {
			return l.Path
		}
	}
	return ""
}

// follow gives fibres the cards in which they were found, now and for later boots, and
// reports whether it did. While it is not known that no session lives over a fibre that
// would move, it does nothing.
func (s *system) follow(ctx context.Context, found, from map[string]string) bool {
	var gone map[string]string
	err := s.lan.aside(func() error {
		before, err := LoadNetwork(s.dir)
		if err != nil {
			return err
		}
		cards, err := netcfg.Cards(false)
		if err != nil {
			return err
		}
		after := before.Follow(cards, found)
		roles, _ := netcfg.Assign(cards, before)
		if gone = moved(before, after, roles); len(gone) == 0 {
			return errors.New("no port of this node's configuration would change")
		}
		if err := after.Validate(); err != nil {
			return err
		}
		st, err := control.NewClient(s.dir.Socket("node")).Status(ctx)
		if err != nil {
			return fmt.Errorf("it is not known whether a session lives: %w", err)
		}
		if path := busy(st.Links, gone); path != "" {
			return fmt.Errorf("a session lives over %s", path)
		}
		return s.replug(ctx, before, after)
	})
	if err != nil {
		s.log.Warn("fibres were found in other cards, and are not followed", "found", found, "cause", err)
		return false
	}
	for role, card := range gone {
		if from[role] == "" {
			from[role] = card
		}
	}
	s.log.Warn("fibres were found in other cards, and are used there from now on", "found", found, "before", gone)
	return true
}

// worse is the error of another use of the cards by which more roles have none. One that
// had none before may change places with another.
func worse(before, after []netcfg.Fault) error {
	if len(after) <= len(before) {
		return nil
	}
	var faults []error
	for _, f := range after {
		faults = append(faults, f)
	}
	return errors.Join(faults...)
}

// replug saves and applies another use of the cards; the lan is not touched. What the
// kernel refuses is undone.
func (s *system) replug(ctx context.Context, before, after netcfg.Config) error {
	cards, err := netcfg.Cards(false)
	if err != nil {
		return err
	}
	_, lacking := netcfg.Assign(cards, before)
	use := func(cfg netcfg.Config) error {
		if err := s.saveLan(cfg); err != nil {
			return err
		}
		if err := firewall.Install(s.walls(cfg)); err != nil {
			return err
		}
		st, err := s.net.Apply(ctx, cfg)
		return errors.Join(err, worse(lacking, st.Faults))
	}
	if err = use(after); err != nil {
		err = errors.Join(err, use(before))
	}
	return err
}
