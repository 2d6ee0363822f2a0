package dhcp

import (
	"net"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"beffroi.dev/pkg/host/netcfg"
)

func ack(t *testing.T, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 77)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(800)}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWhatAnAckGrants(t *testing.T) {
	asked := time.Unix(1000, 0)
	seconds := func(t time.Time) int64 { return t.Unix() - 1000 }
	option := func(code dhcpv4.OptionCode, s byte) dhcpv4.Modifier {
		return dhcpv4.WithGeneric(code, []byte{0, 0, 0, s})
	}
	for _, tc := range []struct {
		name           string
		ack            *dhcpv4.DHCPv4
		address        string
		gateway        string
		t1, t2, expire int64
	}{
		{"times by default", ack(t), "192.0.2.77/24", "invalid IP", 400, 700, 800},
		{"times of the server", ack(t, option(dhcpv4.OptionRenewTimeValue, 100), option(dhcpv4.OptionRebindingTimeValue, 200)), "192.0.2.77/24", "invalid IP", 100, 200, 800},
		{"times out of order", ack(t, option(dhcpv4.OptionRebindingTimeValue, 200)), "192.0.2.77/24", "invalid IP", 400, 700, 800},
		{"a gateway", ack(t, dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1)))), "192.0.2.77/24", "192.0.2.1", 400, 700, 800},
		{"a gateway elsewhere is left out", ack(t, dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(10, 0, 0, 1)))), "192.0.2.77/24", "invalid IP", 400, 700, 800},
		{"no address", ack(t, dhcpv4.WithYourIP(net.IPv4zero)), "", "", 0, 0, 0},
		{"no time", ack(t, dhcpv4.WithLeaseTime(0)), "", "", 0, 0, 0},
		{"an address of the link only", ack(t, dhcpv4.WithYourIP(net.IPv4(169, 254, 3, 4))), "", "", 0, 0, 0},
		{"the network itself", ack(t, dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 0))), "", "", 0, 0, 0},
		{"its broadcast address", ack(t, dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 255))), "", "", 0, 0, 0},
		{"one of a pair of addresses", ack(t, dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 0)), dhcpv4.WithNetmask(net.CIDRMask(31, 32))), "192.0.2.0/31", "invalid IP", 400, 700, 800},
		{"a mask of half the world", ack(t, dhcpv4.WithNetmask(net.CIDRMask(1, 32))), "", "", 0, 0, 0},
		{"a mask of nothing", ack(t, dhcpv4.WithNetmask(net.CIDRMask(0, 32))), "", "", 0, 0, 0},
	} {
		l, err := leaseOf(tc.ack, asked)
		if (err != nil) != (tc.address == "") {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if err == nil && (l.Address.String() != tc.address || l.Gateway.String() != tc.gateway ||
			seconds(l.Renew) != tc.t1 || seconds(l.Rebind) != tc.t2 || seconds(l.Expires) != tc.expire) {
			t.Errorf("%s: %+v", tc.name, l)
		}
	}
}

func TestPhases(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	l := netcfg.Lease{Renew: at(400), Rebind: at(700), Expires: at(800)}
	for _, tc := range []struct {
		now   int64
		want  State
		pause time.Duration
	}{
		{400, Renewing, 150 * time.Second}, {640, Renewing, time.Minute}, {690, Renewing, 10 * time.Second},
		{700, Rebinding, time.Minute}, {799, Rebinding, time.Second}, {800, Selecting, 0},
	} {
		if got := phase(l, at(tc.now)); got != tc.want || pause(l, at(tc.now)) != tc.pause {
			t.Errorf("at %d: %s, pause %v; want %s, %v", tc.now, got, pause(l, at(tc.now)), tc.want, tc.pause)
		}
	}
}

func FuzzLeaseOf(f *testing.F) {
	m, err := dhcpv4.New(dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 77)), dhcpv4.WithLeaseTime(60))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		if l, err := leaseOf(m, time.Unix(0, 0)); err == nil && (!l.Address.IsValid() || l.Renew.After(l.Rebind) || l.Rebind.After(l.Expires)) {
			t.Errorf("accepted %+v", l)
		}
	})
}
