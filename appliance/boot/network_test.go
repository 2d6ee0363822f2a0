package boot

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"beffroi.dev/pkg/host/netcfg"
)

func TestANodeGoesOnWithTheCardsThatItHas(t *testing.T) {
	cards := []netcfg.Card{
		{Name: "eth0", PCI: "0000:01:00.0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}, {Name: "eth1", PCI: "0000:02:00.0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}},
		{Name: "eth2", PCI: "0000:03:00.0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 3}},
	}
	const lan = "02:00:00:00:00:01"
	cfg := netcfg.Config{Lan: netcfg.Lan{Port: "#0"}, Fibres: []netcfg.Fibre{{Name: "fibre1", Port: "#1"}, {Name: "fibre2", Port: "#2"}}}
	byName := netcfg.Config{Lan: netcfg.Lan{Port: "eth0"}, Fibres: []netcfg.Fibre{{Name: "fibre1", Port: "eth1"}, {Name: "fibre2", Port: "eth2"}}}
	for _, tc := range []struct {
		name  string
		cfg   netcfg.Config
		cards []netcfg.Card
		known string   // the lan's card of before
		note  []string // what it says, in order
		fails []string // the roles that it names when it cannot go on
	}{
		{"all are there", cfg, cards, "", []string{"fibre1 eth1, fibre2 eth2, lan eth0"}, nil},
		{"the last one is dead", cfg, cards[:2], lan, []string{"fibre1 eth1, lan eth0", "without a card: fibre2: there is no card #2"}, nil},
		{"both fibres are dead", cfg, cards[:1], lan, []string{"lan eth0", "without a card: fibre1", "without a card: fibre2"}, nil},
		{"a fibre is dead, and nothing is known of before", cfg, cards[:2], "", nil, []string{"fibre2"}},
		{"the lan is dead, and a fibre's card has moved into its place", cfg, cards[1:], lan, nil, []string{"fibre2"}},
		{"the lan is dead, and no other card is taken for it", byName, cards[1:], lan, nil, []string{"lan"}},
		{"all are there, and the lan's is a new one", cfg, cards, "02:00:00:00:00:09", []string{"lan eth0"}, nil},
		{"no card has a role", byName, []netcfg.Card{{Name: "eth7"}}, lan, nil, []string{"lan", "fibre1", "fibre2"}},
		{"there is no card", cfg, nil, lan, nil, []string{"lan", "fibre1", "fibre2"}},
	} {
		roles, faults := netcfg.Assign(tc.cards, tc.cfg)
		note, err := usable(netcfg.Status{Roles: roles, Faults: faults}, tc.known)
		if got := rolesOf(err); !slices.Equal(got, tc.fails) || (err != nil) != (tc.fails != nil) {
			t.Errorf("%s: fails for %v (%v); want %v", tc.name, got, err, tc.fails)
		}
		for _, want := range tc.note {
			at := strings.Index(note, want)
			if at < 0 {
				t.Errorf("%s: %q; want %q in it", tc.name, note, want)
				continue
			}
			note = note[at:]
		}
		if got := cardless(faults); len(got) != len(faults) || len(got) > 0 && (got[0].Role != faults[0].Role || got[0].Faults[0].Code != "no-card") {
			t.Errorf("%s: told as %+v; want an alarm of each role without a card", tc.name, got)
		}
	}
}

func TestACardThatAppearsIsUsed(t *testing.T) {
	eth := func(names ...string) (all []netcfg.Card) {
		for _, n := range names {
			all = append(all, netcfg.Card{Name: n})
		}
		return all
	}
	cfg := netcfg.Config{Lan: netcfg.Lan{Port: "#0"}, Fibres: []netcfg.Fibre{{Name: "fibre1", Port: "#1"}, {Name: "fibre2", Port: "#2"}}}
	for _, tc := range []struct {
		name  string
		start int // roles without a card
		looks [][]netcfg.Card
		want  []bool
	}{
		{"all are there", 0, [][]netcfg.Card{eth("eth0", "eth1", "eth2")}, []bool{false}},
		{"it stays away", 1, [][]netcfg.Card{eth("eth0", "eth1"), eth("eth0", "eth1")}, []bool{false, false}},
		{"it comes late, and is told until it is used", 1, [][]netcfg.Card{eth("eth0", "eth1"), eth("eth0", "eth1", "eth2"), eth("eth0", "eth1", "eth2")}, []bool{false, true, true}},
		{"it goes and comes back", 0, [][]netcfg.Card{eth("eth0", "eth1"), eth("eth0", "eth1", "eth2")}, []bool{false, true}},
	} {
		s := sighting{cardless: tc.start}
		for i, cards := range tc.looks {
			if got := s.appeared(cards, cfg); got != tc.want[i] {
				t.Errorf("%s: look %d: %v", tc.name, i, got)
			}
		}
	}
}

func TestFibresThatAreFollowedLoseNoCard(t *testing.T) {
	fault := func(roles ...string) (all []netcfg.Fault) {
		for _, r := range roles {
			all = append(all, netcfg.Fault{Role: r, Why: "there is no card"})
		}
		return all
	}
	for _, tc := range []struct {
		name          string
		before, after []netcfg.Fault
		lost          bool
	}{
		{"none lacks one", nil, nil, false},
		{"the one that has none changes places", fault("fibre2"), fault("fibre1"), false},
		{"one more has none", nil, fault("fibre1"), true},
		{"both have none", fault("fibre2"), fault("fibre1", "fibre2"), true},
	} {
		err := worse(tc.before, tc.after)
		if (err != nil) != tc.lost || tc.lost && !errors.As(err, new(netcfg.Fault)) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}
