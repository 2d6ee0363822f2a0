package netcfg

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"
)

// RoleLan is the role of the card to the town's network; a fibre's role is its name.
const RoleLan = "lan"

// Card is an ethernet card as the kernel shows it.
type Card struct {
	Name    string           `json:"name"`
	MAC     net.HardwareAddr `json:"mac"`
	PCI     string           `json:"pci,omitempty"` // domain:bus:device.function, empty when it has none
	Driver  string           `json:"driver,omitempty"`
	Carrier bool             `json:"carrier"`
	Speed   int              `json:"speed,omitempty"` // Mbit/s, 0 when unknown
	MTU     int              `json:"mtu"`
}

// Fault is a port that cannot get its card.
type Fault struct {
	Role string `json:"role"`
	Why  string `json:"why"`
}

func (f Fault) Error() string { return f.Role + ": " + f.Why }

// Roles says which card plays which role.
type Roles map[string]Card

// InOrder sorts cards as their slots are: by PCI address, then those without one
// by name.
func InOrder(cards []Card) []Card {
	sorted := slices.Clone(cards)
	slices.SortStableFunc(sorted, func(a, b Card) int {
		if (a.PCI == "") != (b.PCI == "") {
			return cmp.Compare(b.PCI, a.PCI) // the empty one last
		}
		return cmp.Or(cmp.Compare(a.PCI, b.PCI), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return sorted
}

// Assign gives each configured port its card. A port that is left to be found
// gets none and is no fault. When two roles name one card, the lan keeps it, then
// the first fibre: a node that can be reached can be repaired.
func Assign(cards []Card, cfg Config) (Roles, []Fault) {
	cards = InOrder(cards)
	roles, taken := Roles{}, map[string]string{}
	var faults []Fault
	give := func(role string, p Port) {
		if p == "" {
			return
		}
		c, why := find(cards, p)
		if why == "" && taken[c.Name] != "" {
			why = fmt.Sprintf("card %s is already %s", c.Name, taken[c.Name])
		}
		if why != "" {
			faults = append(faults, Fault{role, why})
			return
		}
		roles[role], taken[c.Name] = c, role
	}
	give(RoleLan, cfg.Lan.Port)
	for _, f := range cfg.Fibres {
		give(f.Name, f.Port)
	}
	return roles, faults
}

func find(cards []Card, p Port) (Card, string) {
	s := string(p)
	switch {
	case s[0] == '#':
		n, err := p.index()
		if err != nil {
			return Card{}, fmt.Sprintf("port %s is not a place", s)
		}
		if n >= len(cards) {
			return Card{}, fmt.Sprintf("there is no card %s; this machine has %s", s, count(cards))
		}
		return cards[n], ""
	case strings.Contains(s, ":"):
		mac, err := net.ParseMAC(s)
		if err != nil {
			return Card{}, fmt.Sprintf("port %s is not a MAC address", s)
		}
		for _, c := range cards {
			if bytes.Equal(c.MAC, mac) {
				return c, ""
			}
		}
		return Card{}, fmt.Sprintf("no card has the MAC address %s; this machine has %s", mac, count(cards))
	}
	for _, c := range cards {
		if c.Name == s {
			return c, ""
		}
	}
	return Card{}, fmt.Sprintf("there is no card %s; this machine has %s", s, count(cards))
}

// count names the cards, so that whoever reads a fault can choose another.
func count(cards []Card) string {
	if len(cards) == 0 {
		return "no card: is its driver missing?"
	}
	names := make([]string, len(cards))
	for i, c := range cards {
		names[i] = fmt.Sprintf("#%d %s %s", i, c.Name, c.MAC)
	}
	return strings.Join(names, ", ")
}
