package netcfg_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/nstest"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestApplyToARealKernel(t *testing.T) {
	node, far := nstest.New(t, "node"), nstest.New(t, "far")
	nstest.Cable(t, node, "eth0", far, "lan")
	nstest.Cable(t, node, "eth1", far, "fibre")
	far.Address(t, "lan", "192.0.2.1/24")
	cfg := netcfg.Config{
		Lan: netcfg.Lan{Port: "eth0", Mode: "static", IPv6: "static", Gateway4: netip.MustParseAddr("192.0.2.1"),
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24"), netip.MustParsePrefix("2001:db8::10/64")}},
		Fibres: []netcfg.Fibre{{Name: "fibre1", Port: "eth1", Address: netip.MustParsePrefix("10.77.1.1/30")}},
	}
	e := netcfg.New(quiet(), netcfg.Options{Virtual: true})
	apply := func(e *netcfg.Engine) netcfg.Status {
		t.Helper()
		var s netcfg.Status
		node.Do(t, func() (err error) { s, err = e.Apply(t.Context(), cfg); return err })
		return s
	}
	if s := apply(e); len(s.Faults) > 0 || len(s.Steps) == 0 {
		t.Fatalf("first Apply: faults %v, %d steps", s.Faults, len(s.Steps))
	}
	if s := apply(netcfg.New(quiet(), netcfg.Options{Virtual: true})); len(s.Steps) > 0 {
		t.Errorf("a new process applies the same: steps %v; want none", s.Steps)
	}
	node.Do(t, func() error {
		return errors.Join(
			has("br-lan", "192.0.2.10/24"), has("br-lan", "2001:db8::10/64"), has("eth1", "10.77.1.1/30"),
			sysctl("net/ipv4/conf/all/arp_ignore", "1"), sysctl("net/ipv4/ip_forward", "0"),
			link("eth1", func(l netlink.Link) bool { return l.Attrs().MTU == 9000 }),
			route("198.51.100.1", "br-lan"))
	})
	cfg.Lan.Addresses[0] = netip.MustParsePrefix("192.0.2.11/24")
	cfg.Fibres = nil
	apply(e)
	node.Do(t, func() error {
		return errors.Join(
			has("br-lan", "192.0.2.11/24"), hasNot("br-lan", "192.0.2.10/24"), hasNot("eth1", "10.77.1.1/30"),
			link("eth1", func(l netlink.Link) bool {
				return l.Attrs().MTU == 1500 && l.Attrs().Flags&net.FlagUp != 0 && l.Attrs().Alias == "" // it listens
			}),
			sysctl("net/ipv6/conf/eth1/disable_ipv6", "1"),
			route("198.51.100.1", "br-lan"))
	})
	if s := apply(e); len(s.Steps) > 0 {
		t.Errorf("applied again: steps %v; want none", s.Steps)
	}
}

// The three modes of the lan's IPv6, one after the other: what a router has announced is
// there while it is followed, and no longer.
func TestTheModesOfIPv6OnARealKernel(t *testing.T) {
	node, far := nstest.New(t, "node"), nstest.New(t, "far")
	nstest.Cable(t, node, "eth0", far, "lan")
	e := netcfg.New(quiet(), netcfg.Options{Virtual: true})
	apply := func(mode string, gateway string, addresses ...string) {
		t.Helper()
		l := netcfg.Lan{Port: "eth0", Mode: "dhcp", IPv6: mode, Addresses: prefixes(addresses...)}
		if gateway != "" {
			l.Gateway6 = netip.MustParseAddr(gateway)
		}
		node.Do(t, func() error { _, err := e.Apply(t.Context(), netcfg.Config{Lan: l}); return err })
	}
	const fixed, announced = "2001:db8::10/64", "2001:db8:1:0:1234:56ff:fe78:9abc/64"
	announce := func() error { // as the kernel does when it has heard a router
		l, err := netlink.LinkByName("br-lan")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(announced)
		if err != nil {
			return err
		}
		a.ValidLft, a.PreferedLft, a.Flags = 7200, 3600, unix.IFA_F_NODAD
		return errors.Join(netlink.AddrReplace(l, a),
			netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP("fe80::1"), Protocol: unix.RTPROT_RA}))
	}
	apply("auto", "", fixed)
	node.Do(t, announce)
	apply("auto", "", fixed)
	node.Do(t, func() error {
		return errors.Join(has("br-lan", fixed), has("br-lan", announced), route("2001:db8:ffff::1", "br-lan"), sysctl("net/ipv6/conf/br-lan/accept_ra", "2"))
	})
	apply("static", "", fixed)
	node.Do(t, func() error {
		if err := route("2001:db8:ffff::1", "br-lan"); err == nil {
			t.Error("the way of the router that was announced is still there")
		}
		return errors.Join(has("br-lan", fixed), hasNot("br-lan", announced), sysctl("net/ipv6/conf/br-lan/accept_ra", "0"))
	})
	apply("static", "fe80::1", fixed)
	node.Do(t, func() error { return route("2001:db8:ffff::1", "br-lan") })
	apply("auto", "", fixed)
	node.Do(t, announce)
	apply("off", "")
	node.Do(t, func() error {
		return errors.Join(hasNot("br-lan", fixed), hasNot("br-lan", announced), sysctl("net/ipv6/conf/br-lan/disable_ipv6", "1"))
	})
	apply("static", "2001:db8::1", fixed)
	node.Do(t, func() error { return errors.Join(has("br-lan", fixed), route("2001:db8:ffff::1", "br-lan")) })
}

// What listens at a fibre's address goes on when the fibre changes its card.
func TestFibresThatChangePlacesOnARealKernel(t *testing.T) {
	node, far := nstest.New(t, "node"), nstest.New(t, "far")
	for _, card := range []string{"eth0", "eth1", "eth2", "eth3"} {
		nstest.Cable(t, node, card, far, card)
	}
	far.Address(t, "eth1", "fd00:2::2/64") // the cables are crossed, and then in the spare card
	far.Address(t, "eth2", "fd00:1::2/64")
	far.Address(t, "eth3", "fd00:3::2/64")
	cfg := netcfg.Config{Lan: netcfg.Lan{Port: "#0", Mode: "dhcp"}, Fibres: []netcfg.Fibre{
		{Name: "fibre1", Port: "#1", MTU: 1500, Address: netip.MustParsePrefix("fd00:1::1/64")},
		{Name: "fibre2", Port: "#2", MTU: 1500, Address: netip.MustParsePrefix("fd00:2::1/64")}}}
	e := netcfg.New(quiet(), netcfg.Options{Virtual: true})
	apply := func() (cards []netcfg.Card) {
		t.Helper()
		node.Do(t, func() (err error) {
			st, err := e.Apply(t.Context(), cfg)
			cards, _ = netcfg.Cards(true)
			if len(st.Faults) > 0 {
				return st.Faults[0]
			}
			return err
		})
		return cards
	}
	cards := apply()
	node.Do(t, func() error {
		l, err := net.Listen("tcp", "[fd00:1::1]:7001")
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	})
	meets := func() error {
		return far.Run(func() error {
			c, err := net.DialTimeout("tcp", "[fd00:1::1]:7001", 200*time.Millisecond)
			if err == nil {
				_ = c.Close()
			}
			return err
		})
	}
	if meets() == nil {
		t.Fatal("fibre1 works in the wrong card: the test proves nothing")
	}
	cfg = cfg.Follow(cards, map[string]string{"fibre1": "eth2", "fibre2": "eth1"})
	cards = apply()
	nstest.Eventually(t, time.Minute, meets)
	cfg = cfg.Follow(cards, map[string]string{"fibre2": "eth3"})
	apply()
	node.Do(t, func() error { return errors.Join(has("eth2", "fd00:1::1/64"), has("eth3", "fd00:2::1/64")) })
	nstest.Eventually(t, time.Minute, meets)
	node.Do(t, func() error {
		if st, err := e.Apply(t.Context(), cfg); err != nil || len(st.Steps) > 0 {
			t.Errorf("applied again: steps %v, %v; want none", st.Steps, err)
		}
		return nil
	})
}

func TestAMissingCardStopsNothingElse(t *testing.T) {
	node, far := nstest.New(t, "node"), nstest.New(t, "far")
	nstest.Cable(t, node, "eth0", far, "lan")
	cfg := netcfg.Config{
		Lan:    netcfg.Lan{Port: "eth0", Mode: "static", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}},
		Fibres: []netcfg.Fibre{{Name: "fibre1", Port: "eth7", Address: netip.MustParsePrefix("10.77.1.1/30")}},
	}
	node.Do(t, func() error {
		s, err := netcfg.New(quiet(), netcfg.Options{Virtual: true}).Apply(t.Context(), cfg)
		if len(s.Faults) != 1 || s.Faults[0].Role != "fibre1" {
			t.Errorf("faults %v; want fibre1 without a card", s.Faults)
		}
		return errors.Join(err, has("br-lan", "192.0.2.10/24"))
	})
}

func TestALeaseComesAndGoes(t *testing.T) {
	node, far := nstest.New(t, "node"), nstest.New(t, "far")
	nstest.Cable(t, node, "eth0", far, "lan")
	e := netcfg.New(quiet(), netcfg.Options{Virtual: true})
	node.Do(t, func() error {
		_, err := e.Apply(t.Context(), netcfg.Config{Lan: netcfg.Lan{Port: "eth0", Mode: "dhcp"}})
		l := &netcfg.Lease{Address: netip.MustParsePrefix("192.0.2.77/24"), Gateway: netip.MustParseAddr("192.0.2.1")}
		return errors.Join(err,
			e.SetLease(t.Context(), l), has("br-lan", "192.0.2.77/24"), route("198.51.100.1", "br-lan"),
			e.SetLease(t.Context(), nil), hasNot("br-lan", "192.0.2.77/24"))
	})
}

func TestALeaseThatWouldCutSomebodyOffIsRefused(t *testing.T) {
	node, far := nstest.New(t, "node"), nstest.New(t, "far")
	nstest.Cable(t, node, "eth0", far, "lan")
	e := netcfg.New(quiet(), netcfg.Options{Virtual: true})
	node.Do(t, func() error {
		_, err := e.Apply(t.Context(), netcfg.Config{Lan: netcfg.Lan{Port: "eth0", Mode: "dhcp"},
			Fibres:  []netcfg.Fibre{{Name: "fibre1", Address: netip.MustParsePrefix("10.77.1.1/30")}},
			Service: netcfg.Service{Address: netip.MustParsePrefix("192.0.2.10/24"), VirtualMAC: "02:be:ff:00:00:01"}})
		for name, lease := range map[string]string{"the network of a fibre": "10.77.0.5/16", "the service address": "192.0.2.10/24"} {
			if e.SetLease(t.Context(), &netcfg.Lease{Address: netip.MustParsePrefix(lease)}) == nil {
				t.Errorf("a lease of %s was accepted", name)
			}
			err = errors.Join(err, hasNot("br-lan", lease))
		}
		return err
	})
}

func TestTapsOfGuests(t *testing.T) {
	nstest.Users(t)
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("no taps here: %v", err)
	}
	node, far := nstest.New(t, "node"), nstest.New(t, "far")
	nstest.Cable(t, node, "eth0", far, "lan")
	e := netcfg.New(quiet(), netcfg.Options{Virtual: true})
	node.Do(t, func() error {
		_, err := e.Apply(t.Context(), netcfg.Config{Lan: netcfg.Lan{Port: "eth0", Mode: "dhcp"}})
		if err != nil {
			return err
		}
		var names []string
		for _, uid := range []int{1000, 1000, 2000} { // twice the same, then another owner
			name, err := e.AddTap("mail", 0, uid)
			if err != nil {
				return err
			}
			names = append(names, name)
			if err := link(name, func(l netlink.Link) bool {
				tap, ok := l.(*netlink.Tuntap)
				return ok && int(tap.Owner) == uid && int(tap.Group) == uid && l.Attrs().MasterIndex != 0 && l.Attrs().Flags&net.FlagUp != 0
			}); err != nil {
				return err
			}
		}
		taps, err := e.Taps()
		if want := []netcfg.Tap{{Link: names[0], VM: "mail", Index: 0}}; !slices.Equal(taps, want) {
			t.Errorf("Taps = %v; want %v", taps, want)
		}
		err = errors.Join(err, e.RemoveTap("mail", 0), e.RemoveTap("mail", 0))
		if taps, _ := e.Taps(); len(taps) > 0 {
			t.Errorf("taps %v after their removal", taps)
		}
		return err
	})
}

func TestCardsAreThoseWithACable(t *testing.T) {
	node, far := nstest.New(t, "node"), nstest.New(t, "far")
	nstest.Cable(t, node, "eth0", far, "lan")
	node.Do(t, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "br9"
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return err
		}
		real, err := netcfg.Cards(false)
		if len(real) > 0 {
			t.Errorf("real cards %v in an empty machine", real)
		}
		virtual, err2 := netcfg.Cards(true)
		if len(virtual) != 1 || virtual[0].Name != "eth0" || virtual[0].Driver != "veth" || !virtual[0].Carrier {
			t.Errorf("cards %+v; want eth0 by veth with a carrier", virtual)
		}
		return errors.Join(err, err2)
	})
}

func addresses(name string) ([]string, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	var out []string
	for _, a := range list {
		out = append(out, a.IPNet.String())
	}
	return out, err
}

func has(name, prefix string) error {
	list, err := addresses(name)
	if err == nil && !slices.Contains(list, prefix) {
		return fmt.Errorf("%s has %v; want %s", name, list, prefix)
	}
	return err
}

func hasNot(name, prefix string) error {
	if list, err := addresses(name); err != nil || slices.Contains(list, prefix) {
		return fmt.Errorf("%s has %v (%w); want no %s", name, list, err, prefix)
	}
	return nil
}

func sysctl(path, want string) error {
	b, err := os.ReadFile("/proc/sys/" + path)
	if got := strings.TrimSpace(string(b)); err != nil || got != want {
		return fmt.Errorf("%s = %q (%w); want %q", path, got, err, want)
	}
	return nil
}

func link(name string, ok func(netlink.Link) bool) error {
	l, err := netlink.LinkByName(name)
	if err == nil && !ok(l) {
		return fmt.Errorf("%s is %+v", name, l)
	}
	return err
}

func route(to, via string) error {
	routes, err := netlink.RouteGet(net.ParseIP(to))
	if err != nil || len(routes) == 0 {
		return fmt.Errorf("route to %s: %w", to, err)
	}
	return link(via, func(l netlink.Link) bool { return l.Attrs().Index == routes[0].LinkIndex })
}
