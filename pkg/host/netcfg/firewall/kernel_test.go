package firewall_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/firewall"
	"beffroi.dev/pkg/host/netcfg/nstest"
	"beffroi.dev/pkg/host/netcfg/serviceaddr"
)

type town struct{ node, citizen, twin, guest *nstest.Host }

// build makes a node that holds the service address, with a citizen on its lan, its
// twin on a fibre and a guest on its bridge, and a listener on every port of interest.
func build(t *testing.T) town {
	t.Helper()
	w := town{nstest.New(t, "node"), nstest.New(t, "citizen"), nstest.New(t, "twin"), nstest.New(t, "guest")}
	nstest.Cable(t, w.node, "eth0", w.citizen, "eth0")
	nstest.Cable(t, w.node, "fib1", w.twin, "fib1")
	nstest.Cable(t, w.node, "guest0", w.guest, "eth0")
	w.citizen.Address(t, "eth0", "192.0.2.50/24", "2001:db8::50/64")
	w.guest.Address(t, "eth0", "192.0.2.60/24")
	w.twin.Address(t, "fib1", "10.77.1.2/30")
	log := slog.New(slog.DiscardHandler)
	service := netcfg.Service{Address: netip.MustParsePrefix("192.0.2.100/24"), Address6: netip.MustParsePrefix("2001:db8::100/64"), VirtualMAC: "02:be:ff:00:00:01"}
	w.node.Do(t, func() error {
		if _, err := netcfg.New(log, netcfg.Options{Virtual: true}).Apply(t.Context(), ports()); err != nil {
			return err
		}
		h, err := serviceaddr.New(serviceaddr.Config{Lan: "br-lan", Service: service}, log)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = w.node.Run(h.Drop) })
		if err := join("guest0", "br-lan"); err != nil {
			return err
		}
		return h.Hold(t.Context())
	})
	for _, port := range []int{22, 80, 7000, 7001, 8443} {
		listen(t, w.node, port)
	}
	for _, h := range []*nstest.Host{w.citizen, w.guest, w.twin} { // all may try to reach the fibre's address
		h.Do(t, func() error {
			links, err := netlink.LinkList()
			if err != nil {
				return err
			}
			via := net.ParseIP("192.0.2.10")
			if h == w.twin {
				via = net.ParseIP("10.77.1.1")
			}
			return netlink.RouteAdd(&netlink.Route{LinkIndex: links[len(links)-1].Attrs().Index, Gw: via, Dst: nil})
		})
	}
	return w
}

// ports is the node's own network.
func ports() netcfg.Config {
	return netcfg.Config{
		Lan:    netcfg.Lan{Port: "eth0", Mode: "static", IPv6: "off", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}},
		Fibres: []netcfg.Fibre{{Name: "fibre1", Port: "fib1", Address: netip.MustParsePrefix("10.77.1.1/30"), MTU: 1500}}}
}

func join(port, bridge string) error {
	p, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	br, err := netlink.LinkByName(bridge)
	if err != nil {
		return err
	}
	return netlink.LinkSetMaster(p, br)
}

func listen(t *testing.T, h *nstest.Host, port int) {
	t.Helper()
	h.Do(t, func() error {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	})
}

func reaches(h *nstest.Host, addr string) bool {
	return h.Run(func() error {
		c, err := net.DialTimeout("tcp", addr, 60*time.Millisecond)
		if err == nil {
			_ = c.Close()
		}
		return err
	}) == nil
}

func rules() firewall.Config {
	return firewall.Config{Lan: "br-lan", LanCard: "eth0", Guests: "52:ab:cd", Service: serviceaddr.LinkName,
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8::100")},
		Fibres:    []firewall.Fibre{{Link: "fib1", Address: netip.MustParsePrefix("10.77.1.1/30")}},
		Console:   []uint16{8443}, Votes: []uint16{7000}, Data: []uint16{7001}}
}

func TestWhoReachesWhat(t *testing.T) {
	w := build(t)
	w.node.Do(t, func() error { return firewall.Install(rules()) })
	for _, tc := range []struct {
		from *nstest.Host
		to   string
		want bool
	}{
		{w.citizen, "192.0.2.100:80", true},
		{w.citizen, "[2001:db8::100]:80", true},
		{w.citizen, "192.0.2.10:80", true},
		{w.citizen, "192.0.2.10:8443", true},
		{w.citizen, "192.0.2.10:7000", true},
		{w.citizen, "192.0.2.10:7001", false},  // data: fibres only
		{w.citizen, "192.0.2.10:22", false},    // nobody's
		{w.citizen, "192.0.2.100:8443", false}, // no console at the service address
		{w.citizen, "[2001:db8::100]:8443", false},
		{w.citizen, "10.77.1.1:7001", false}, // the fibre's address through the lan
		{w.citizen, "10.77.1.1:80", false},
		{w.citizen, "10.77.1.2:7001", false}, // nothing is forwarded
		{w.guest, "192.0.2.100:80", true},
		{w.guest, "192.0.2.50:9", false},
		{w.guest, "10.77.1.1:7001", false},
		{w.twin, "10.77.1.1:7001", true},
		{w.twin, "10.77.1.1:8443", false},
		{w.twin, "10.77.1.1:80", false},
		{w.twin, "192.0.2.10:80", false}, // the lan's address through the fibre
		{w.twin, "192.0.2.50:80", false},
	} {
		if got := reaches(tc.from, tc.to); got != tc.want {
			t.Errorf("%s reaches %s: %v; want %v", tc.from.Name, tc.to, got, tc.want)
		}
	}
	w.node.Do(t, func() error {
		counts, err := firewall.Drops()
		for _, c := range []string{firewall.DropLan, firewall.DropService, firewall.DropFibre, firewall.DropCrossed} {
			if counts[c] == 0 {
				t.Errorf("%s counts nothing in %v", c, counts)
			}
		}
		return err
	})
}

func TestGuestsAndTheNodesOwnConnectionsAreNotHindered(t *testing.T) {
	w := build(t)
	w.node.Do(t, func() error { return firewall.Install(rules()) })
	listen(t, w.citizen, 25)
	listen(t, w.twin, 7001)
	for _, tc := range []struct {
		from *nstest.Host
		to   string
	}{{w.guest, "192.0.2.50:25"}, {w.node, "192.0.2.50:25"}, {w.node, "10.77.1.2:7001"}, {w.node, "127.0.0.1:22"}} {
		if !reaches(tc.from, tc.to) {
			t.Errorf("%s does not reach %s", tc.from.Name, tc.to)
		}
	}
}

// A guest's card is a tap in the bridge: to the node it is a citizen, and neither the
// console, the votes nor the fibres are its own.
func TestAGuestsTapLeadsToTheTownAndNotToTheFibres(t *testing.T) {
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("no taps here: %v", err)
	}
	w, vm := build(t), nstest.New(t, "vm")
	w.node.Do(t, func() error { return firewall.Install(rules()) })
	e, link := netcfg.New(slog.New(slog.DiscardHandler), netcfg.Options{Virtual: true}), ""
	w.node.Do(t, func() error {
		_, err := e.Apply(t.Context(), ports())
		if err == nil {
			link, err = e.AddTap("1", 0, os.Geteuid())
		}
		return err
	})
	nstest.Guest(t, w.node, link, vm, "eth0")
	vm.Address(t, "eth0", "192.0.2.61/24")
	vm.Do(t, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP("192.0.2.10")}) // through the node, to all
	})
	for _, h := range []*nstest.Host{w.citizen, w.guest, w.twin} {
		listen(t, h, 7001)
	}
	for _, tc := range []struct {
		to   string
		want bool
	}{
		{"192.0.2.50:7001", true}, // the town
		{"192.0.2.60:7001", true}, // another guest
		{"192.0.2.100:80", true},  // the citizens' service
		{"192.0.2.10:80", true},
		{"192.0.2.10:8443", false}, // the console is for machines of the town
		{"192.0.2.10:7000", false}, // the votes' port of the lan
		{"192.0.2.10:7001", false},
		{"192.0.2.10:22", false},
		{"10.77.1.1:7001", false}, // the node's end of the fibre: data and votes
		{"10.77.1.1:8443", false},
		{"10.77.1.2:7001", false}, // the twin's
	} {
		if tc.want {
			nstest.Eventually(t, time.Minute, func() error { // this test plays QEMU, and has other things to do
				if !reaches(vm, tc.to) {
					return fmt.Errorf("a guest does not reach %s", tc.to)
				}
				return nil
			})
		} else if reaches(vm, tc.to) {
			t.Errorf("a guest reaches %s", tc.to)
		}
	}
	w.node.Do(t, func() error {
		counts, err := firewall.Drops()
		if counts[firewall.DropGuest] == 0 {
			t.Errorf("counts %v; want a guest's counted", counts)
		}
		return err
	})
	w.node.Do(t, func() error {
		taps, err := e.Taps()
		if len(taps) != 1 || !taps[0].Used {
			t.Errorf("taps %+v; want one that is in use", taps)
		}
		return err
	})
}

// The guests of the twin come by the cable of the lan: their addresses tell them from
// the town's machines. One that takes another address does not leave its own node with
// it, to such a port.
func TestAGuestIsKnownOnTheOtherNodeToo(t *testing.T) {
	w := build(t)
	w.node.Do(t, func() error { return firewall.Install(rules()) })
	for _, port := range []int{8443, 9000} {
		listen(t, w.citizen, port) // as the twin, or any machine of the town
	}
	own := func(h *nstest.Host, mac string) {
		h.Do(t, func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			address, err := net.ParseMAC(mac)
			if err != nil {
				return err
			}
			return netlink.LinkSetHardwareAddr(l, address)
		})
		for _, other := range []*nstest.Host{w.node, w.citizen, w.guest} { // nobody remembers the former one
			other.Do(t, func() error {
				all, err := netlink.NeighList(0, netlink.FAMILY_V4)
				for _, n := range all {
					_ = netlink.NeighDel(&n) // some are the kernel's own
				}
				return err
			})
		}
	}
	for _, tc := range []struct {
		name string
		from *nstest.Host
		mac  string
		to   string
		want bool
	}{
		{"a machine of the town", w.citizen, "52:54:00:12:34:56", "192.0.2.10:8443", true},
		{"a guest of the twin", w.citizen, "52:ab:cd:00:00:04", "192.0.2.10:8443", false},
		{"the same, to the votes", w.citizen, "52:ab:cd:00:00:04", "192.0.2.10:7000", false},
		{"the same, as a citizen", w.citizen, "52:ab:cd:00:00:04", "192.0.2.10:80", true},
		{"a guest here, to a machine of the town", w.guest, "52:ab:cd:00:00:08", "192.0.2.50:8443", true}, // the twin drops it
		{"with another address, here", w.guest, "02:00:00:00:00:08", "192.0.2.10:8443", false},
		{"with another address, to the twin's console", w.guest, "02:00:00:00:00:08", "192.0.2.50:8443", false},
		{"with another address, elsewhere", w.guest, "02:00:00:00:00:08", "192.0.2.50:9000", true},
	} {
		own(tc.from, tc.mac)
		if !tc.want {
			if reaches(tc.from, tc.to) {
				t.Errorf("%s: %s is reached", tc.name, tc.to)
			}
			continue
		}
		nstest.Eventually(t, time.Minute, func() error {
			if !reaches(tc.from, tc.to) {
				return fmt.Errorf("%s: %s is not reached", tc.name, tc.to)
			}
			return nil
		})
	}
	w.node.Do(t, func() error {
		counts, err := firewall.Drops()
		if counts[firewall.DropForged] == 0 {
			t.Errorf("counts %v; want a forged address counted", counts)
		}
		return err
	})
}

func TestInstallReplacesAndTheCountsGoOn(t *testing.T) {
	w := build(t)
	c := rules()
	w.node.Do(t, func() error { return firewall.Install(c) })
	if reaches(w.citizen, "192.0.2.10:22") {
		t.Error("port 22 is open")
	}
	c.Console = append(c.Console, 22)
	w.node.Do(t, func() error {
		if err := firewall.Install(c); err != nil {
			return err
		}
		counts, err := firewall.Drops()
		if counts[firewall.DropLan] == 0 {
			t.Errorf("counts %v after a second Install; want the first one's kept", counts)
		}
		return err
	})
	if !reaches(w.citizen, "192.0.2.10:22") {
		t.Error("port 22 is closed after an Install that opens it")
	}
	c.Console[0] = 0
	w.node.Do(t, func() error {
		if err := firewall.Install(c); err == nil {
			t.Error("an invalid configuration was installed")
		}
		return firewall.Remove()
	})
	if !reaches(w.citizen, "192.0.2.10:7001") {
		t.Error("closed after Remove")
	}
}

// A node without a pair is met at its link-local address, on the pairing's port and on
// no other; when it belongs to a pair, not even there.
func TestAPairingIsReachedOnAFibreAndThenNoMore(t *testing.T) {
	node, twin := nstest.New(t, "node"), nstest.New(t, "twin")
	nstest.Cable(t, node, "fib1", twin, "fib1")
	c := firewall.Config{Lan: "br-lan", Service: serviceaddr.LinkName, Citizens: []uint16{}, Pairing: 7100,
		Fibres: []firewall.Fibre{{Link: "fib1", Address: netip.MustParsePrefix("fd00:1::1/64")}}}
	node.Do(t, func() error { return firewall.Install(c) })
	for _, port := range []int{22, 7100} {
		listen(t, node, port)
	}
	local := ""
	for end := time.Now().Add(time.Minute); local == "" && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		node.Do(t, func() error {
			l, err := netlink.LinkByName("fib1")
			if err != nil {
				return err
			}
			all, err := netlink.AddrList(l, netlink.FAMILY_V6)
			for _, a := range all {
				local = a.IP.String()
			}
			return err
		})
	}
	zone := 0 // by number: Go remembers the numbers of names, and other tests' hosts have this one too
	twin.Do(t, func() error {
		l, err := netlink.LinkByName("fib1")
		if err == nil {
			zone = l.Attrs().Index
		}
		return err
	})
	at := func(port int) string { return fmt.Sprintf("[%s%%%d]:%d", local, zone, port) }
	open := false
	for end := time.Now().Add(time.Minute); !open && time.Now().Before(end); { // until both addresses are no longer tentative
		open = reaches(twin, at(7100))
	}
	if !open || reaches(twin, at(22)) {
		t.Errorf("pairing reached %v, another port %v", open, reaches(twin, at(22)))
	}
	c.Pairing = 0
	node.Do(t, func() error { return firewall.Install(c) })
	if reaches(twin, at(7100)) {
		t.Error("the pairing's port is open on a node that has a pair")
	}
}
