package netcfg

import (
	"fmt"
	"maps"
	"slices"
)

// Follow gives fibres the cards in which they were found, by place, so that a card that
// is replaced in its slot needs nothing. A fibre that had such a card, and was not found
// itself, gets the port that is left behind.
func (c Config) Follow(cards []Card, found map[string]string) Config {
	cards = InOrder(cards)
	roles, _ := Assign(cards, c)
	c.Fibres = slices.Clone(c.Fibres)
	at := func(role string) *Fibre {
		if i := slices.IndexFunc(c.Fibres, func(f Fibre) bool { return f.Name == role }); i >= 0 {
			return &c.Fibres[i]
		}
		return nil
	}
	for _, role := range slices.Sorted(maps.Keys(found)) {
		place := slices.IndexFunc(cards, func(k Card) bool { return k.Name == found[role] })
		f := at(role)
		if f == nil || place < 0 || roles[RoleLan].Name == found[role] {
			continue
		}
		left := f.Port
		f.Port = Port(fmt.Sprintf("#%d", place))
		for other, card := range roles {
			if g := at(other); g != nil && card.Name == found[role] && found[other] == "" && other != role {
				g.Port = left
			}
		}
	}
	return c
}

// spare has cards without a role listen: a fibre may be plugged into one. It changes
// nothing else of them, and nothing of one that somebody made a member of something.
func spare(s State, cards []Card, roles Roles, before []Step) (steps []Step) {
	taken := func(c Card) bool {
		for _, r := range roles {
			if r.Name == c.Name {
				return true
			}
		}
		return false
	}
	for _, c := range cards {
		l, there := named(s.Links, c.Name)
		released := slices.ContainsFunc(before, func(s Step) bool { return s.Action == Release && s.Link.Name == c.Name })
		if !there || taken(c) || l.Up && !released || l.Master != "" && !released {
			continue
		}
		steps = append(steps,
			Step{Action: SetSysctl, Sysctl: Sysctl{Path: "net/ipv6/conf/" + c.Name + "/disable_ipv6", Value: "1", Optional: true}},
			Step{Action: SetUp, Link: Link{Name: c.Name}})
	}
	return steps
}
