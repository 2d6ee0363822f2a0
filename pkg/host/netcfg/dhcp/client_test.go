package dhcp_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"

	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/dhcp"
	"beffroi.dev/pkg/host/netcfg/nstest"
	"beffroi.dev/pkg/task"
)

// server grants 192.0.2.77 for a second while it answers.
type server struct {
	silent atomic.Bool
	acks   atomic.Int32
}

func (s *server) handle(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	if s.silent.Load() {
		return
	}
	kind := dhcpv4.MessageTypeOffer
	if m.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
		s.acks.Add(1)
	}
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 77)),
		dhcpv4.WithServerIP(net.IPv4(192, 0, 2, 1)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(1), dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))))
	if err == nil {
		_, _ = conn.WriteTo(r.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68})
	}
}

func TestALeaseIsObtainedRenewedLostAndObtainedAgain(t *testing.T) {
	node, far := nstest.New(t, "node"), nstest.New(t, "server")
	nstest.Cable(t, node, "eth0", far, "eth0")
	far.Address(t, "eth0", "192.0.2.1/24")
	g := task.New(t.Context())
	t.Cleanup(func() { _ = g.Stop(time.Second) })
	var s server
	far.Do(t, func() error {
		conn, err := server4.NewIPv4UDPConn("eth0", &net.UDPAddr{Port: 67})
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = conn.Close() })
		srv, err := server4.NewServer("eth0", nil, s.handle, server4.WithConn(conn))
		if err == nil {
			g.Go("server", func(context.Context) error { _ = srv.Serve(); return nil })
			t.Cleanup(func() { _ = srv.Close() })
		}
		return err
	})
	engine := netcfg.New(slog.New(slog.DiscardHandler), netcfg.Options{Virtual: true})
	node.Do(t, func() error {
		_, err := engine.Apply(t.Context(), netcfg.Config{Lan: netcfg.Lan{Port: "eth0", Mode: "dhcp", IPv6: "off"}})
		return err
	})
	config := dhcp.Config{
		Link: "br-lan", HostName: "node-a", Try: 100 * time.Millisecond, RetryMin: 20 * time.Millisecond, RetryMax: 100 * time.Millisecond,
		Listen: func() (conn net.PacketConn, mac net.HardwareAddr, err error) {
			err = node.Run(func() error { conn, mac, err = dhcp.Raw("br-lan")(); return err })
			return conn, mac, err
		},
		Changed: func(ctx context.Context, l *netcfg.Lease) {
			if err := node.Run(func() error { return engine.SetLease(ctx, l) }); err != nil && ctx.Err() == nil {
				t.Errorf("SetLease: %v", err)
			}
		},
	}
	c, err := dhcp.New(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.silent.Store(true)
	g.Go("client", c.Run)
	nstest.Eventually(t, bound, func() error { return is(c.Status().Tries > 1, c.Status()) })
	s.silent.Store(false)
	granted := func() error {
		st := c.Status()
		return is(st.Lease != nil && st.Lease.Address == netip.MustParsePrefix("192.0.2.77/24") && reachable(node), st)
	}
	nstest.Eventually(t, bound, granted)
	first := s.acks.Load()
	nstest.Eventually(t, bound, func() error { return is(s.acks.Load() > first && c.Status().State == dhcp.Bound, c.Status()) })
	s.silent.Store(true)
	nstest.Eventually(t, bound, func() error {
		return is(c.Status().State == dhcp.Selecting && c.Status().Lease == nil && !reachable(node), c.Status())
	})
	s.silent.Store(false)
	nstest.Eventually(t, bound, granted)
}

// bound is how long anything may take on a machine that is busy.
const bound = 20 * time.Second

// A client that was killed and started again keeps what it had: a server that is
// silent just then must not cost the node its address.
func TestALeaseThatIsHeldOutlivesARestartAndASilentServer(t *testing.T) {
	now := time.Now()
	held := netcfg.Lease{Address: netip.MustParsePrefix("192.0.2.77/24"), Server: netip.MustParseAddr("192.0.2.1"), Renew: now, Rebind: now.Add(time.Hour), Expires: now.Add(2 * time.Hour)}
	for _, tc := range []struct {
		name    string
		expires time.Time
		want    bool
	}{{"valid", held.Expires, true}, {"over", now, false}} {
		t.Run(tc.name, func(t *testing.T) {
			g := task.New(t.Context())
			t.Cleanup(func() { _ = g.Stop(bound) })
			var asked atomic.Int32
			told := make(chan *netcfg.Lease, 100)
			h := held
			h.Expires = tc.expires
			c, err := dhcp.New(dhcp.Config{
				Link: "lo", Held: &h, RetryMin: time.Millisecond, RetryMax: 2 * time.Millisecond,
				Listen: func() (net.PacketConn, net.HardwareAddr, error) {
					asked.Add(1)
					return nil, nil, errors.New("no server")
				},
				Changed: func(_ context.Context, l *netcfg.Lease) { told <- l },
			}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			g.Go("client", c.Run)
			if l := <-told; (l != nil) != tc.want {
				t.Errorf("told %v first", l)
			}
			nstest.Eventually(t, bound, func() error { return is(asked.Load() > 0, c.Status()) })
			if len(told) != 0 {
				t.Errorf("then told %v; the lease is still good", <-told)
			}
		})
	}
}

func is(ok bool, what any) error {
	if !ok {
		return fmt.Errorf("%+v", what)
	}
	return nil
}

// reachable reports whether the node can speak from the address of the lease.
func reachable(node *nstest.Host) bool {
	return node.Run(func() error {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 77)}, &net.UDPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 9})
		if err == nil {
			_ = c.Close()
		}
		return err
	}) == nil
}
