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
)

func TestWhatIsThePairsOwnIsNobodysToChange(t *testing.T) {
	for text, want := range map[string]bool{"10.0.0.1/24": false, "2001:db8::1/64": false, "fd12:3456:789a::1/64": true, "fe80::1/64": false} {
		if got := pairsOwn(netip.MustParsePrefix(text)); got != want {
			t.Errorf("%s: %v; want %v", text, got, want)
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
	cfg.Lan = before.Lan.WithSettings(netcfg.Lan{Mode: netcfg.ModeStatic, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}, Gateway4: netip.MustParseAddr("10.0.0.254")}, pairsOwn)
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
	for _, do := range []operator.Deed{operator.Begin, operator.Found, operator.Erase, operator.TryLan, operator.KeepLan, "dance"} {
		lan := after.Lan
		if f := pairing.AsFault(d.Do(t.Context(), operator.Ask{Do: do, Lan: &lan}), pairing.Disk); f == nil || f.Reason != pairing.NotNow {
			t.Errorf("%s before there is anything: %v", do, f)
		}
	}
}
