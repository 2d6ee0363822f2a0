package serviceaddr_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"

	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/nstest"
	"beffroi.dev/pkg/host/netcfg/serviceaddr"
)

var service = netcfg.Service{
	Address: netip.MustParsePrefix("192.0.2.100/24"), Address6: netip.MustParsePrefix("2001:db8::100/64"), VirtualMAC: "02:be:ff:00:00:01",
}

type node struct {
	*nstest.Host
	holder *serviceaddr.Holder
}

// network is two nodes and a citizen on one lan, all with their own addresses; a
// name server of each node answers its name on port 80 of every address.
func network(t *testing.T) (a, b node, citizen *nstest.Host) {
	t.Helper()
	a, b = node{Host: nstest.New(t, "a")}, node{Host: nstest.New(t, "b")}
	citizen = nstest.New(t, "citizen")
	nstest.Switch(t, "switch", nstest.End{Host: a.Host, Card: "eth0"}, nstest.End{Host: b.Host, Card: "eth0"}, nstest.End{Host: citizen, Card: "eth0"})
	citizen.Address(t, "eth0", "192.0.2.50/24", "2001:db8::50/64")
	log := slog.New(slog.DiscardHandler)
	for i, n := range []*node{&a, &b} {
		h, err := serviceaddr.New(serviceaddr.Config{Lan: "br-lan", Service: service, Announce: []time.Duration{20 * time.Millisecond, 50 * time.Millisecond}}, log)
		if err != nil {
			t.Fatal(err)
		}
		n.holder = h
		n.Do(t, func() error {
			_, err := netcfg.New(log, netcfg.Options{Virtual: true}).Apply(t.Context(), netcfg.Config{Lan: netcfg.Lan{
				Port: "eth0", Mode: "static", IPv6: "off", Gateway4: netip.MustParseAddr("192.0.2.50"),
				Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}), 24)}}})
			return err
		})
		serve(t, n.Host)
		t.Cleanup(func() { _ = n.Run(h.Drop) })
	}
	return a, b, citizen
}

// serve answers each connection to port 80 with the host's name.
func serve(t *testing.T, h *nstest.Host) {
	t.Helper()
	h.Do(t, func() error {
		l, err := net.Listen("tcp", ":80")
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, h.Name)
				_ = c.Close()
			}
		}()
		return nil
	})
}

// ask connects from a host and returns who answered.
func ask(h *nstest.Host, addr string) (who string, err error) {
	err = h.Run(func() error {
		c, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err != nil {
			return err
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		who = string(b)
		return err
	})
	return who, err
}

func expect(t *testing.T, h *nstest.Host, addr, want string) {
	t.Helper()
	if who, err := ask(h, addr); who != want {
		t.Errorf("%s answered by %q (%v); want %q", addr, who, err, want)
	}
}

// neighbour is what a host's kernel knows of an address.
func neighbour(t *testing.T, h *nstest.Host, ip string) (mac string) {
	t.Helper()
	h.Do(t, func() error {
		list, err := netlink.NeighList(0, netlink.FAMILY_ALL)
		for _, n := range list {
			if n.IP.String() == ip {
				mac = n.HardwareAddr.String()
			}
		}
		return err
	})
	return mac
}

func TestTheAddressMovesAndNoNeighbourLearnsAnything(t *testing.T) {
	a, b, citizen := network(t)
	a.Do(t, func() error { return a.holder.Hold(t.Context()) })
	expect(t, citizen, "192.0.2.100:80", "a")
	expect(t, citizen, "[2001:db8::100]:80", "a")
	for round, to := range []node{b, a, b} {
		from := map[string]node{"a": b, "b": a}[to.Name]
		from.Do(t, from.holder.Drop)
		to.Do(t, func() error { return to.holder.Hold(t.Context()) })
		start := time.Now()
		for _, addr := range []string{"192.0.2.100:80", "[2001:db8::100]:80"} {
			expect(t, citizen, addr, to.Name)
		}
		if took := time.Since(start); took > 200*time.Millisecond {
			t.Errorf("round %d: two answers took %v", round, took)
		}
		for _, ip := range []string{"192.0.2.100", "2001:db8::100"} {
			if mac := neighbour(t, citizen, ip); mac != service.VirtualMAC {
				t.Errorf("round %d: the citizen knows %s as %q; want %s", round, ip, mac, service.VirtualMAC)
			}
		}
	}
	expect(t, b.Host, "192.0.2.100:80", "b")
	expect(t, a.Host, "192.0.2.100:80", "b") // the standby proxies to it
}

func TestAnswersLeaveWithTheVirtualMAC(t *testing.T) {
	a, _, citizen := network(t)
	a.Do(t, func() error { return a.holder.Hold(t.Context()) })
	var conn *packet.Conn
	citizen.Do(t, func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err == nil {
			conn, err = packet.Listen(ifi, packet.Raw, 0x0800, nil)
		}
		return err
	})
	defer conn.Close()
	expect(t, citizen, "192.0.2.100:80", "a")
	virtual, _ := net.ParseMAC(service.VirtualMAC)
	seen := 0
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	for b := make([]byte, 2000); ; {
		n, _, err := conn.ReadFrom(b)
		if err != nil {
			break
		}
		if n < 34 || !bytes.Equal(b[26:30], service.Address.Addr().AsSlice()) {
			continue
		}
		if seen++; !bytes.Equal(b[6:12], virtual) {
			t.Fatalf("an answer came from %x; want %v", b[6:12], virtual)
		}
	}
	if seen == 0 {
		t.Error("no answer was seen")
	}
}

func TestADroppedAddressIsGone(t *testing.T) {
	a, b, citizen := network(t)
	a.Do(t, func() error {
		return errors.Join(a.holder.Drop(), a.holder.Hold(t.Context()), a.holder.Hold(t.Context()))
	})
	expect(t, citizen, "192.0.2.100:80", "a")
	if !a.holder.Held() || b.holder.Held() {
		t.Error("Held: want a only")
	}
	a.Do(t, func() error { return errors.Join(a.holder.Drop(), a.holder.Drop(), clean()) })
	if who, err := ask(citizen, "192.0.2.100:80"); err == nil {
		t.Errorf("dropped, but answered by %q", who)
	}
	expect(t, citizen, "192.0.2.10:80", "a") // its own address is not touched
}

func TestWhatADeadProcessLeftIsRemoved(t *testing.T) {
	a, _, _ := network(t)
	a.Do(t, func() error {
		return errors.Join(a.holder.Hold(t.Context()), serviceaddr.Stale(), clean(), serviceaddr.Stale())
	})
}

func TestNothingIsLeftOfAFailedHold(t *testing.T) {
	a := nstest.New(t, "a")
	h, err := serviceaddr.New(serviceaddr.Config{Lan: "br-lan", Service: service}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a.Do(t, func() error {
		if err := h.Hold(t.Context()); err == nil || h.Held() {
			t.Errorf("Hold without a lan = %v, held %v", err, h.Held())
		}
		return clean()
	})
}

func TestTheDefaultRouteIsTheLansOwn(t *testing.T) {
	a, _, _ := network(t)
	lan := netcfg.Lan{Port: "eth0", Mode: "static", IPv6: "off", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}}
	e := netcfg.New(slog.New(slog.DiscardHandler), netcfg.Options{Virtual: true})
	a.Do(t, func() error {
		if err := errors.Join(a.holder.Refresh(), clean()); err != nil { // nothing is held, and nothing is made
			return err
		}
		if err := a.holder.Hold(t.Context()); err != nil {
			return err
		}
		for _, tc := range []struct{ gateway, leaves string }{ // the lan's; the service address's
			{"192.0.2.50", "192.0.2.50"}, {"192.0.2.51", "192.0.2.51"}, {"", "192.0.2.51"}, {"192.0.2.52", "192.0.2.52"},
		} {
			lan.Gateway4, _ = netip.ParseAddr(tc.gateway)
			if _, err := e.Apply(t.Context(), netcfg.Config{Lan: lan}); err != nil {
				return err
			}
			if err := errors.Join(a.holder.Refresh(), leaves(t, tc.leaves)); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestWhatAFenceTookDoesNotComeBack(t *testing.T) {
	a, _, _ := network(t)
	a.Do(t, func() error {
		return errors.Join(a.holder.Hold(t.Context()), serviceaddr.Stale(), a.holder.Refresh(), clean())
	})
}

// leaves checks by which gateway answers of the service address leave for other networks.
func leaves(t *testing.T, gateway string) error {
	t.Helper()
	routes, err := netlink.RouteGetWithOptions(net.ParseIP("198.51.100.1"), &netlink.RouteGetOptions{SrcAddr: net.ParseIP("192.0.2.100")})
	if err != nil || len(routes) == 0 {
		return fmt.Errorf("route from the service address: %w", err)
	}
	l, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err == nil && (l.Attrs().Name != serviceaddr.LinkName || !routes[0].Gw.Equal(net.ParseIP(gateway))) {
		t.Errorf("leaves through %s via %v; want %s via %s", l.Attrs().Name, routes[0].Gw, serviceaddr.LinkName, gateway)
	}
	return err
}

// clean reports what is left of a service address.
func clean() error {
	if _, err := netlink.LinkByName(serviceaddr.LinkName); err == nil {
		return errors.New("the link is still there")
	}
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := netlink.RuleList(f)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if r.Table == 191 {
				return fmt.Errorf("rule left: %v", r)
			}
		}
	}
	return nil
}
