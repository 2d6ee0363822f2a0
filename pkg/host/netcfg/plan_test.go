package netcfg_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"beffroi.dev/pkg/host/netcfg"
	"github.com/google/go-cmp/cmp"
)

func steps(s netcfg.State, p netcfg.Plan) []string {
	var out []string
	for _, c := range netcfg.Changes(s, p) {
		if c.Action != netcfg.SetSysctl {
			out = append(out, c.String())
		}
	}
	return out
}

// after is the state in which a plan is fulfilled.
func after(p netcfg.Plan) netcfg.State {
	s := netcfg.State{Links: slices.Clone(p.Links), Addresses: p.Addresses, Routes: p.Routes, Sysctls: map[string]string{}}
	for i := range s.Links {
		if s.Links[i].MTU == 0 {
			s.Links[i].MTU = 1500
		}
	}
	for _, c := range p.Sysctls {
		s.Sysctls[c.Path] = c.Value
	}
	return s
}

func planOf(t *testing.T, change func(*netcfg.Config), offer netcfg.Offer) netcfg.Plan {
	t.Helper()
	c := parse(t, example)
	if change != nil {
		change(&c)
	}
	cards := []netcfg.Card{
		card("eth0", "02:00:00:00:00:01", "0000:02:00.0"), card("eth1", "02:00:00:00:00:02", "0000:02:00.1"), card("eth2", "02:00:00:00:00:03", "0000:05:00.0"),
	}
	roles, _ := netcfg.Assign(cards, c)
	return netcfg.MakePlan(c, roles, offer)
}

func bare() netcfg.State {
	return netcfg.State{Links: []netcfg.Link{
		{Name: "lo"}, {Name: "eth0", Kind: "card", MTU: 1500}, {Name: "eth1", Kind: "card", MTU: 1500}, {Name: "eth2", Kind: "card", MTU: 1500}}}
}

func TestFromBareCardsToTheExample(t *testing.T) {
	want := strings.Split(`add link bridge br-lan
bring up lo
mark br-lan as beffroi:bridge
set mac 02:00:00:00:00:01 of br-lan
bring up br-lan
mark eth0 as beffroi:lan
join eth0 to "br-lan"
bring up eth0
mark eth1 as beffroi:fibre1
set mtu 9000 of eth1
bring up eth1
mark eth2 as beffroi:fibre2
bring up eth2
add address 192.0.2.10/24 on br-lan
add address 2001:db8::10/64 on br-lan
add address 10.77.1.1/30 on eth1
add address 10.77.2.1/30 on eth2
add route 0.0.0.0/0 via 192.0.2.1 on br-lan
add route ::/0 via fe80::1 on br-lan`, "\n")
	if d := cmp.Diff(want, steps(bare(), planOf(t, nil, netcfg.Offer{}))); d != "" {
		t.Error(d)
	}
}

func TestAFulfilledPlanChangesNothing(t *testing.T) {
	p := planOf(t, nil, netcfg.Offer{})
	if got := netcfg.Changes(after(p), p); len(got) > 0 {
		t.Errorf("steps %v; want none", got)
	}
}

func TestTheDifferenceOfTwoConfigurations(t *testing.T) {
	lease := &netcfg.Lease{Address: netip.MustParsePrefix("192.0.2.77/24"), Gateway: netip.MustParseAddr("192.0.2.254")}
	dhcp := func(c *netcfg.Config) {
		c.Lan.Mode, c.Lan.Addresses, c.Lan.Gateway4 = "dhcp", c.Lan.Addresses[1:], netip.Addr{}
	}
	for _, tc := range []struct {
		name     string
		from, to netcfg.Plan
		want     string
	}{
		{"another address", planOf(t, nil, netcfg.Offer{}),
			planOf(t, func(c *netcfg.Config) { c.Lan.Addresses[0] = netip.MustParsePrefix("192.0.2.11/24") }, netcfg.Offer{}),
			"remove address 192.0.2.10/24 on br-lan\nadd address 192.0.2.11/24 on br-lan\nadd route 0.0.0.0/0 via 192.0.2.1 on br-lan"},
		{"another gateway", planOf(t, nil, netcfg.Offer{}),
			planOf(t, func(c *netcfg.Config) { c.Lan.Gateway4 = netip.MustParseAddr("192.0.2.2") }, netcfg.Offer{}),
			"remove route 0.0.0.0/0 via 192.0.2.1 on br-lan\nadd route 0.0.0.0/0 via 192.0.2.2 on br-lan"},
		{"a fibre less", planOf(t, nil, netcfg.Offer{}),
			planOf(t, func(c *netcfg.Config) { c.Fibres = c.Fibres[:1] }, netcfg.Offer{}),
			"remove address 10.77.2.1/30 on eth2\nrelease card eth2"},
		{"fibres exchanged", planOf(t, nil, netcfg.Offer{}),
			planOf(t, func(c *netcfg.Config) { c.Fibres[0].Port, c.Fibres[1].Port = c.Fibres[1].Port, c.Fibres[0].Port }, netcfg.Offer{}),
			"remove address 10.77.1.1/30 on eth1\nremove address 10.77.2.1/30 on eth2\nmark eth2 as beffroi:fibre1\nset mtu 9000 of eth2\n" +
				"mark eth1 as beffroi:fibre2\nset mtu 1500 of eth1\nadd address 10.77.1.1/30 on eth2\nadd address 10.77.2.1/30 on eth1"},
		{"a vlan", planOf(t, nil, netcfg.Offer{}), planOf(t, func(c *netcfg.Config) { c.Lan.VLAN = 12 }, netcfg.Offer{}),
			"remove route 0.0.0.0/0 via 192.0.2.1 on br-lan\nremove route ::/0 via fe80::1 on br-lan\n" +
				"remove address 192.0.2.10/24 on br-lan\nremove address 2001:db8::10/64 on br-lan\nadd link vlan br-lan.12 (12 on br-lan)\n" +
				"mark br-lan.12 as beffroi:vlan\nbring up br-lan.12\nadd address 192.0.2.10/24 on br-lan.12\nadd address 2001:db8::10/64 on br-lan.12\n" +
				"add route 0.0.0.0/0 via 192.0.2.1 on br-lan.12\nadd route ::/0 via fe80::1 on br-lan.12"},
		{"another bridge", planOf(t, func(c *netcfg.Config) { c.Lan.Gateway6 = netip.Addr{} }, netcfg.Offer{}),
			planOf(t, func(c *netcfg.Config) { c.Bridge, c.Lan.Gateway6 = "br1", netip.Addr{} }, netcfg.Offer{}),
			"remove route 0.0.0.0/0 via 192.0.2.1 on br-lan\nremove address 192.0.2.10/24 on br-lan\nremove address 2001:db8::10/64 on br-lan\n" +
				"remove link bridge br-lan\nadd link bridge br1\nmark br1 as beffroi:bridge\nset mac 02:00:00:00:00:01 of br1\nbring up br1\njoin eth0 to \"br1\"\n" +
				"add address 192.0.2.10/24 on br1\nadd address 2001:db8::10/64 on br1\nadd route 0.0.0.0/0 via 192.0.2.1 on br1"},
		{"static to dhcp: what works stays until the server has spoken", planOf(t, nil, netcfg.Offer{}), planOf(t, dhcp, netcfg.Offer{}), ""},
		{"static to dhcp: the lease replaces it", planOf(t, nil, netcfg.Offer{}), planOf(t, dhcp, netcfg.Offer{Known: true, Lease: lease}),
			"remove route 0.0.0.0/0 via 192.0.2.1 on br-lan\nremove address 192.0.2.10/24 on br-lan\n" +
				"add address 192.0.2.77/24 on br-lan\nadd route 0.0.0.0/0 via 192.0.2.254 on br-lan"},
		{"a lost lease", planOf(t, dhcp, netcfg.Offer{Known: true, Lease: lease}), planOf(t, dhcp, netcfg.Offer{Known: true}),
			"remove route 0.0.0.0/0 via 192.0.2.254 on br-lan\nremove address 192.0.2.77/24 on br-lan"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, strings.Join(steps(after(tc.from), tc.to), "\n")); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	p := planOf(t, nil, netcfg.Offer{})
	s := after(p)
	s.Links = append(s.Links, netcfg.Link{Name: "docker0", Kind: "bridge"}, netcfg.Link{Name: "eth9", Kind: "card", Up: true},
		netcfg.Link{Name: "service", Kind: "card", Alias: "beffroi:service"})
	for _, l := range []string{"docker0", "eth9", "service"} {
		s.Addresses = append(s.Addresses, netcfg.Address{Link: l, Prefix: netip.MustParsePrefix("172.17.0.1/16")})
	}
	if got := steps(s, p); len(got) > 0 {
		t.Errorf("steps %v; want none", got)
	}
}

func TestTapsFollowTheBridge(t *testing.T) {
	p := planOf(t, nil, netcfg.Offer{})
	s := after(p)
	s.Links = append(s.Links, netcfg.Link{Name: "t0", Kind: "card", Alias: "beffroi:tap:0:mail", Master: "old"})
	if d := cmp.Diff([]string{`join t0 to "br-lan"`}, steps(s, p)); d != "" {
		t.Error(d)
	}
}
