package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"beffroi.dev/pkg/host/netcfg"
)

// What a server may grant at most.
const (
	widest = 8 // bits of a network: a wider one would take every other route
	maxDNS = 3
)

// leaseOf reads a server's ACK to a question asked at the given time.
func leaseOf(ack *dhcpv4.DHCPv4, asked time.Time) (netcfg.Lease, error) {
	l := netcfg.Lease{Obtained: asked, Server: addr(ack.ServerIdentifier()), Domain: ack.DomainName()}
	a := addr(ack.YourIPAddr)
	if !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return l, fmt.Errorf("the server grants %v, which is no address of a host", ack.YourIPAddr)
	}
	mask := ack.SubnetMask()
	if mask == nil {
		mask = net.IP(a.AsSlice()).DefaultMask()
	}
	bits, size := mask.Size()
	if size != 32 || bits < widest {
		return l, fmt.Errorf("the server's network mask is %v", mask)
	}
	l.Address = netip.PrefixFrom(a, bits)
	if bits < 31 && (a == l.Address.Masked().Addr() || a == broadcast(l.Address)) {
		return l, fmt.Errorf("the server grants %v, which means the whole network", l.Address)
	}
	if routers := ack.Router(); len(routers) > 0 {
		if g := addr(routers[0]); l.Address.Contains(g) && g != a {
			l.Gateway = g
		}
	}
	for _, d := range ack.DNS() {
		if s := addr(d); s.IsValid() && !s.IsUnspecified() && len(l.DNS) < maxDNS {
			l.DNS = append(l.DNS, s)
		}
	}
	granted := ack.IPAddressLeaseTime(0)
	if granted <= 0 {
		return l, errors.New("the server grants no time")
	}
	t1, t2 := ack.IPAddressRenewalTime(0), ack.IPAddressRebindingTime(0)
	if t1 <= 0 || t1 >= granted {
		t1 = granted / 2
	}
	if t2 <= t1 || t2 >= granted {
		t2 = max(granted/8*7, t1)
	}
	l.Renew, l.Rebind, l.Expires = asked.Add(t1), asked.Add(t2), asked.Add(granted)
	return l, nil
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|^uint32(0)>>p.Bits())
	return netip.AddrFrom4(b)
}

// phase is what to do for a lease whose time has come: renew, rebind, or begin anew.
func phase(l netcfg.Lease, now time.Time) State {
	switch {
	case !now.Before(l.Expires):
		return Selecting
	case !now.Before(l.Rebind):
		return Rebinding
	}
	return Renewing
}

// pause is how long to wait after a failed renewal: half of what is left of the
// phase, at least a minute, and not into the next one.
func pause(l netcfg.Lease, now time.Time) time.Duration {
	end := l.Expires
	if phase(l, now) == Renewing {
		end = l.Rebind
	}
	left := end.Sub(now)
	return min(max(left/2, time.Minute), left)
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
