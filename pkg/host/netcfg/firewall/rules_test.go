package firewall_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"beffroi.dev/pkg/host/netcfg/firewall"
)

var update = flag.Bool("update", false, "write the golden file anew")

func example() firewall.Config {
	return firewall.Config{
		Lan: "br-lan", LanCard: "eth0", Guests: "52:ab:cd", Service: "service",
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8::100")},
		Fibres: []firewall.Fibre{
			{Link: "fib1", Address: netip.MustParsePrefix("10.77.1.1/30")},
			{Link: "fib2", Address: netip.MustParsePrefix("fd00:77::1/64")}},
		Console: []uint16{8443}, Votes: []uint16{7000}, Data: []uint16{7001, 7002},
	}
}

func TestTheRulesAreThese(t *testing.T) {
	var b strings.Builder
	for _, r := range firewall.Rules(example()) {
		b.WriteString(r.String() + "\n")
	}
	toNode, passing := firewall.BridgeRules(example())
	for i, list := range [][]firewall.Rule{toNode, passing} {
		b.WriteString([]string{"\n# in the bridge, to the node\n", "\n# in the bridge, passing\n"}[i])
		for _, r := range list {
			b.WriteString(r.String() + "\n")
		}
	}
	golden := filepath.Join("testdata", "rules.nft")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Error(d)
	}
}

func TestOperatorsNarrowTheConsoleOnly(t *testing.T) {
	c := example()
	c.Operators = []netip.Prefix{netip.MustParsePrefix("192.0.2.64/26")}
	var with []string
	for _, r := range firewall.Rules(c) {
		if r.From.IsValid() && r.In == "br-lan" {
			with = append(with, r.String())
		}
	}
	if d := cmp.Diff([]string{`iifname "br-lan" ip saddr 192.0.2.64/26 tcp dport 8443 accept`}, with); d != "" {
		t.Error(d)
	}
}

func TestEachInputEndsInADropThatIsCounted(t *testing.T) {
	last := map[string]firewall.Rule{}
	for _, r := range firewall.Rules(example()) {
		if last[r.In].Drop != "" && last[r.In].To == (netip.Prefix{}) && !last[r.In].Guest && r.In != "" {
			t.Errorf("%v comes after everything from %s was dropped", r, r.In)
		}
		last[r.In] = r
	}
	for _, link := range []string{"br-lan", "service", "fib1", "fib2", ""} {
		if last[link].Drop == "" {
			t.Errorf("the last rule of %q is %v; want a drop", link, last[link])
		}
	}
}

// Nothing that is a guest's passes to what comes after the citizens' ports, whoever else
// may.
func TestAGuestIsNeverAnOperator(t *testing.T) {
	for name, operators := range map[string][]netip.Prefix{"everyone": nil, "the guest's own address": {netip.MustParsePrefix("192.0.2.60/32")}} {
		c := example()
		c.Operators = operators
		closed := false
		for _, r := range firewall.Rules(c) {
			closed = closed || r.Guest && r.In == c.Lan && r.Drop == firewall.DropGuest
			if (r.Port == 8443 || r.Port == 7000) && !closed {
				t.Errorf("%s: %v comes before guests are shut out", name, r)
			}
			if closed && r.Port == 80 {
				t.Errorf("%s: %v comes after: guests are citizens too", name, r)
			}
		}
		if !closed {
			t.Errorf("%s: guests are not shut out", name)
		}
	}
}

func TestANodeWithoutABridgeHasNoRulesForOne(t *testing.T) {
	c := example()
	c.LanCard, c.Guests = "", ""
	a, b := firewall.BridgeRules(c)
	if len(a)+len(b) > 0 {
		t.Errorf("%v, %v", a, b)
	}
	for _, r := range firewall.Rules(c) {
		if r.Guest {
			t.Errorf("%v", r)
		}
	}
}

func TestValidateNamesEachFault(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*firewall.Config)
		want   string
	}{
		{"no lan", func(c *firewall.Config) { c.Lan = "" }, `link ""`},
		{"two roles", func(c *firewall.Config) { c.Fibres[0].Link = "br-lan" }, "two roles"},
		{"port 0", func(c *firewall.Config) { c.Console = []uint16{0} }, "console: port 0"},
		{"fibre without address", func(c *firewall.Config) { c.Fibres[1].Address = netip.Prefix{} }, "fibre fib2: no address"},
		{"service address", func(c *firewall.Config) { c.Addresses[0] = netip.Addr{} }, "service: not an address"},
		{"the lan's card has another role", func(c *firewall.Config) { c.LanCard = "fib1" }, "fib1: has two roles"},
		{"guests, half a byte", func(c *firewall.Config) { c.Guests = "52:a" }, "no beginning of an ethernet address"},
		{"guests, no number", func(c *firewall.Config) { c.Guests = "52:zz" }, "no beginning of an ethernet address"},
		{"guests, too long", func(c *firewall.Config) { c.Guests = "52:00:00:00:00:00:00" }, "no beginning of an ethernet address"},
		{"operators", func(c *firewall.Config) { c.Operators = make([]netip.Prefix, 1) }, "operators: not a network"},
	} {
		c := example()
		tc.change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Validate = %v; want %q in it", tc.name, err, tc.want)
		}
	}
	if err := example().Validate(); err != nil {
		t.Errorf("the example: %v", err)
	}
}

func TestPairingOpensOnePortOnEachCableAndNothingMore(t *testing.T) {
	c := example()
	before := map[string]bool{}
	for _, r := range firewall.Rules(c) {
		before[r.String()] = true
	}
	c.Pairing = 7100
	var more []string
	for _, r := range firewall.Rules(c) {
		if s := r.String(); !before[s] {
			more = append(more, s)
		}
	}
	want := []string{
		`iifname "fib1" tcp dport 7100 accept`, `iifname "fib1" udp dport 7100 accept`, `iifname "fib1" icmpv6 type 135 accept`, `iifname "fib1" icmpv6 type 136 accept`,
		`iifname "fib2" tcp dport 7100 accept`, `iifname "fib2" udp dport 7100 accept`,
		`iifname "br-lan" tcp dport 7100 accept`, `iifname "br-lan" udp dport 7100 accept`,
	}
	if d := cmp.Diff(want, more); d != "" {
		t.Error(d)
	}
}
