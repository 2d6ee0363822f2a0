package netcfg_test

import (
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"beffroi.dev/pkg/host/netcfg"
)

const example = `{
	"lan": {"port": "eth0", "mode": "static", "addresses": ["192.0.2.10/24", "2001:db8::10/64"], "ipv6": "static",
		"gateway4": "192.0.2.1", "gateway6": "fe80::1", "dns": ["192.0.2.53"]},
	"fibres": [
		{"name": "fibre1", "port": "02:00:00:00:00:02", "address": "10.77.1.1/30"},
		{"name": "fibre2", "port": "#2", "address": "10.77.2.1/30", "mtu": 1500}],
	"service": {"address": "192.0.2.100/24", "address6": "2001:db8::100/64", "virtualMac": "02:be:ff:00:00:01"}
}`

func parse(t *testing.T, s string) netcfg.Config {
	t.Helper()
	var c netcfg.Config
	if err := json.Unmarshal([]byte(s), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheExampleIsValidAndSurvivesJSON(t *testing.T) {
	c := parse(t, example)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	again := parse(t, string(b))
	if b2, _ := json.Marshal(again); string(b2) != string(b) {
		t.Errorf("written again: %s\nwas: %s", b2, b)
	}
}

func TestValidateNamesEachFault(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*netcfg.Config)
		want   string // empty: valid
	}{
		{"a fibre still to be found", func(c *netcfg.Config) { c.Fibres[0].Port = "" }, ""},
		{"no service address yet", func(c *netcfg.Config) { c.Service = netcfg.Service{} }, ""},
		{"dhcp with a static IPv6 address", func(c *netcfg.Config) {
			c.Lan.Mode, c.Lan.Addresses, c.Lan.Gateway4 = "dhcp", c.Lan.Addresses[1:], netip.Addr{}
		}, ""},
		{"no lan port", func(c *netcfg.Config) { c.Lan.Port = "" }, "lan: no port"},
		{"unknown mode", func(c *netcfg.Config) { c.Lan.Mode = "bootp" }, `lan: mode "bootp"`},
		{"static without address", func(c *netcfg.Config) { c.Lan.Addresses = nil }, "mode static without an address"},
		{"dhcp with an IPv4 address", func(c *netcfg.Config) { c.Lan.Mode = "dhcp" }, "mode dhcp asks for one"},
		{"gateway elsewhere", func(c *netcfg.Config) { c.Lan.Gateway4 = netip.MustParseAddr("10.9.9.9") }, "not a neighbour"},
		{"gateway of the other family", func(c *netcfg.Config) { c.Lan.Gateway4 = netip.MustParseAddr("fe80::1") }, "gateway4 fe80::1: of the other family"},
		{"network address", func(c *netcfg.Config) { c.Lan.Addresses[0] = netip.MustParsePrefix("192.0.2.0/24") }, "network's own address"},
		{"vlan", func(c *netcfg.Config) { c.Lan.VLAN = 4095 }, "vlan 4095"},
		{"ipv6 word", func(c *netcfg.Config) { c.Lan.IPv6 = "yes" }, `ipv6 "yes"`},
		{"operators", func(c *netcfg.Config) { c.Lan.Operators = prefixes("10.0.0.5/32", "10.1.0.0/16", "2001:db8::/48") }, ""},
		{"an operator's machine with the size of its network", func(c *netcfg.Config) { c.Lan.Operators = prefixes("10.0.0.5/24") }, "write 10.0.0.5 or 10.0.0.0/24"},
		{"everyone as operators", func(c *netcfg.Config) { c.Lan.Operators = prefixes("0.0.0.0/0") }, "leave them out"},
		{"an operator twice", func(c *netcfg.Config) { c.Lan.Operators = prefixes("10.0.0.5/32", "10.0.0.5/32") }, "named twice"},
		{"no operator", func(c *netcfg.Config) { c.Lan.Operators = make([]netip.Prefix, 1) }, "operators: no network"},
		{"too many operators", func(c *netcfg.Config) {
			for i := range 17 {
				c.Lan.Operators = append(c.Lan.Operators, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 32))
			}
		}, "17 operators"},
		{"port name", func(c *netcfg.Config) { c.Lan.Port = "a/b" }, "not a link name"},
		{"port MAC", func(c *netcfg.Config) { c.Lan.Port = "02:00:zz" }, "not a MAC address"},
		{"port place", func(c *netcfg.Config) { c.Lan.Port = "#x" }, "want # and a number"},
		{"bridge", func(c *netcfg.Config) { c.Bridge = "a-very-long-name" }, "bridge"},
		{"fibre name", func(c *netcfg.Config) { c.Fibres[0].Name = "fibre3" }, `fibre "fibre3"`},
		{"one fibre twice", func(c *netcfg.Config) { c.Fibres[1].Name = "fibre1" }, "fibre1: named twice"},
		{"fibres on one network", func(c *netcfg.Config) { c.Fibres[1].Address = c.Fibres[0].Address }, "is also fibre1's"},
		{"fibre on the lan", func(c *netcfg.Config) { c.Fibres[1].Address = netip.MustParsePrefix("192.0.2.9/24") }, "overlaps the lan's"},
		{"fibre mtu", func(c *netcfg.Config) { c.Fibres[1].MTU = 64 }, "mtu 64"},
		{"service MAC of a maker", func(c *netcfg.Config) { c.Service.VirtualMAC = "00:11:22:33:44:55" }, "locally administered"},
		{"service families", func(c *netcfg.Config) { c.Service.Address, c.Service.Address6 = c.Service.Address6, c.Service.Address }, "want IPv6"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := parse(t, example)
			tc.change(&c)
			err := c.Validate()
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("Validate = %v; want %q in it", err, tc.want)
			}
		})
	}
}

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func TestValidateReportsAllFaultsAtOnce(t *testing.T) {
	c := parse(t, example)
	c.Lan.Mode, c.Fibres[0].MTU, c.Service.VirtualMAC = "x", 1, "y"
	if n := strings.Count(c.Validate().Error(), "\n"); n < 2 {
		t.Errorf("%d faults in %v; want 3", n+1, c.Validate())
	}
}

func card(name, mac, pci string) netcfg.Card {
	m, err := net.ParseMAC(mac)
	if err != nil {
		panic(err)
	}
	return netcfg.Card{Name: name, MAC: m, PCI: pci}
}

func TestAssign(t *testing.T) {
	cards := []netcfg.Card{
		card("eth2", "02:00:00:00:00:03", "0000:05:00.0"),
		card("eth0", "02:00:00:00:00:01", "0000:02:00.0"),
		card("eth1", "02:00:00:00:00:02", "0000:02:00.1"),
		card("usb0", "02:00:00:00:00:04", ""),
	}
	for _, tc := range []struct {
		name       string
		cards      []netcfg.Card
		lan, f1    netcfg.Port
		wantLan    string
		wantFibre1 string
		fault      string
	}{
		{"by name and by MAC", cards, "eth1", "02:00:00:00:00:03", "eth1", "eth2", ""},
		{"by place in PCI order", cards, "#0", "#2", "eth0", "eth2", ""},
		{"a card without PCI address is last", cards, "#3", "", "usb0", "", ""},
		{"the lan by MAC", cards, "02:00:00:00:00:01", "eth1", "eth0", "eth1", ""},
		{"a fibre still to be found is no fault", cards, "eth0", "", "eth0", "", ""},
		{"unknown name", cards, "eth9", "eth1", "", "eth1", "lan: there is no card eth9; this machine has #0 eth0 02:00:00:00:00:01, #1 eth1"},
		{"unknown MAC", cards, "eth0", "02:00:00:00:00:09", "eth0", "", "fibre1: no card has the MAC address 02:00:00:00:00:09; this machine has #0 eth0"},
		{"a place too far", cards, "eth0", "#4", "eth0", "", "fibre1: there is no card #4"},
		{"two roles on one card: the lan keeps it", cards, "#1", "eth1", "eth1", "", "fibre1: card eth1 is already lan"},
		{"no cards", nil, "eth0", "", "", "", "lan: there is no card eth0; this machine has no card: is its driver missing?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := netcfg.Config{Lan: netcfg.Lan{Port: tc.lan}, Fibres: []netcfg.Fibre{{Name: "fibre1", Port: tc.f1}}}
			roles, faults := netcfg.Assign(tc.cards, cfg)
			if roles["lan"].Name != tc.wantLan || roles["fibre1"].Name != tc.wantFibre1 {
				t.Errorf("lan %q, fibre1 %q; want %q, %q", roles["lan"].Name, roles["fibre1"].Name, tc.wantLan, tc.wantFibre1)
			}
			switch {
			case tc.fault == "" && len(faults) > 0:
				t.Errorf("faults %v; want none", faults)
			case tc.fault != "" && (len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), tc.fault)):
				t.Errorf("faults %v; want %q", faults, tc.fault)
			}
		})
	}
}

func TestSettingsLeaveTheCardAndWhatIsNoPersons(t *testing.T) {
	p := netip.MustParsePrefix
	own := p("fd00:1::1/64")
	l := netcfg.Lan{Port: "#0", Mode: netcfg.ModeDHCP, Addresses: []netip.Prefix{p("10.0.0.1/24"), own}, IPv6: netcfg.IPv6Auto, VLAN: 3}
	got := l.WithSettings(netcfg.Lan{Port: "#7", Mode: netcfg.ModeStatic, Addresses: []netip.Prefix{p("10.0.0.2/24"), p("fd00:9::1/64")}},
		func(a netip.Prefix) bool { return a.Addr().Is6() })
	want := netcfg.Lan{Port: "#0", Mode: netcfg.ModeStatic, Addresses: []netip.Prefix{p("10.0.0.2/24"), own}, IPv6: netcfg.IPv6Auto}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); d != "" {
		t.Error(d)
	}
	off := l.WithSettings(netcfg.Lan{Mode: netcfg.ModeDHCP, IPv6: netcfg.IPv6Off}, func(a netip.Prefix) bool { return a == own })
	if off.IPv6 != netcfg.IPv6Static || !slices.Equal(off.Addresses, []netip.Prefix{own}) || (netcfg.Config{Lan: off}).Validate() != nil {
		t.Errorf("IPv6 off, and an address that stays: %+v, %v", off, (netcfg.Config{Lan: off}).Validate())
	}
}
