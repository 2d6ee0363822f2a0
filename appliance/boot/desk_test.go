package boot

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/board"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/transport"
)

func TestWhatIsThePairsOwnIsNobodysToChange(t *testing.T) {
	founded := &config.Node{VoteListen: []transport.Path{{Name: "fibre1", Addr: "[fd12:3456:789a:1::1]:7101"}, {Name: "lan", Addr: "[fd12:3456:789a::1]:7103"}}}
	seeded := &config.Node{VoteListen: []transport.Path{{Name: "lan", Addr: "10.0.0.1:7103"}}}
	for _, tt := range []struct {
		text string
		node *config.Node
		want bool
	}{
		{"10.0.0.1/24", founded, false}, {"2001:db8::1/64", founded, false}, {"fe80::1/64", founded, false},
		{"fd12:3456:789a::1/64", founded, true},
		{"fd12:3456:789a::1/64", nil, false},
		{"fd77::1/64", founded, false}, // a person's: towns number their networks so
		{"10.0.0.1/24", seeded, false},
	} {
		if got := pairsOwn(tt.node)(netip.MustParsePrefix(tt.text)); got != tt.want {
			t.Errorf("%s: %v; want %v", tt.text, got, tt.want)
		}
	}
}

func TestALanIsSavedAndReadAgainOnABlankNode(t *testing.T) {
	s := &system{dir: config.Dir(t.TempDir()), log: slog.New(slog.DiscardHandler), board: board.Board{Ports: board.Ports()}}
	before, err := s.blankNetwork()
	if err != nil {
		t.Fatal(err)
	}
	if before.Lan.Mode != netcfg.ModeDHCP || before.Lan.Port != "#0" || before.Validate() != nil {
		t.Errorf("blank: %+v, %v", before, before.Validate())
	}
	cfg := before
	cfg.Lan = before.Lan.WithSettings(netcfg.Lan{Mode: netcfg.ModeStatic, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}, Gateway4: netip.MustParseAddr("10.0.0.254")}, s.own())
	if err := s.saveLan(cfg); err != nil {
		t.Fatal(err)
	}
	after, err := s.currentNetwork()
	if err != nil || after.Lan.Mode != netcfg.ModeStatic || !slices.Equal(after.Lan.Addresses, cfg.Lan.Addresses) || after.Lan.Port != "#0" {
		t.Errorf("saved: %+v, %v", after, err)
	}
	if fixed := s.fixed(after.Lan); fixed != nil {
		t.Errorf("others know a blank node by %v", fixed)
	}
	d := desk{s}
	if st := d.State(); st.Profile != "production" || st.Lan == nil || st.Pairing != nil {
		t.Errorf("state: %+v", st)
	}
	for _, do := range []operator.Deed{operator.Begin, operator.Found, operator.Erase, operator.TryLan, operator.KeepLan, operator.Look, operator.Replace, "dance"} {
		lan := after.Lan
		if f := pairing.AsFault(d.Do(t.Context(), operator.Ask{Do: do, Lan: &lan}), pairing.Disk); f == nil || f.Reason != pairing.NotNow {
			t.Errorf("%s before there is anything: %v", do, f)
		}
	}
}

// What a person has set reaches the firewall, and the pair's guests are known to it.
func TestTheWallsKnowOperatorsAndGuests(t *testing.T) {
	s := &system{node: &config.Node{Pair: ident.NewUUID(), Console: config.Console{Listen: "[::]:8443"},
		VoteListen: []transport.Path{{Name: "fibre1", Addr: "[fd00::1]:7101"}, {Name: "lan", Addr: "10.0.0.1:7103"}}}}
	cfg := netcfg.Config{Lan: netcfg.Lan{Port: "#0", Mode: netcfg.ModeDHCP, Operators: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/32")}}}
	w := s.walls(cfg)
	if err := w.Validate(); err != nil || !slices.Equal(w.Operators, cfg.Lan.Operators) || w.Guests != cluster.CardPrefix(s.node.Pair) ||
		!slices.Equal(w.Console, []uint16{8443}) || !slices.Equal(w.Votes, []uint16{7103}) {
		t.Errorf("walls: %+v, %v", w, err)
	}
	if w.Pairing != 0 {
		t.Errorf("the pairing's port is open while nobody looks for a machine: %d", w.Pairing)
	}
	// Whoever puts the walls up anew while a machine is looked for leaves its door open.
	s.looking.Store(true)
	if w = s.walls(cfg); w.Pairing != pairing.Port {
		t.Errorf("the pairing's port is shut while a machine is looked for: %d", w.Pairing)
	}
}
