package netcfg

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// How the lan gets its addresses.
const (
	ModeDHCP   = "dhcp"
	ModeStatic = "static"

	IPv6Auto   = "auto"   // the kernel follows router advertisements
	IPv6Static = "static" // the addresses of Lan.Addresses only
	IPv6Off    = "off"
)

// Defaults of what a configuration may leave out.
const (
	DefaultBridge   = "br-lan"
	DefaultFibreMTU = 9000
)

// MaxOperators bounds the networks from which the console can be reached.
const MaxOperators = 16

// Port names a card: by its name ("eth0"), by its MAC address, or by its place
// in PCI order ("#0" is the first). An empty Port is a cable still to be found.
type Port string

// Config is the network part of a node's configuration.
type Config struct {
	Lan      Lan     `json:"lan"`
	Fibres   []Fibre `json:"fibres,omitempty"`
	Service  Service `json:"service,omitzero"`
	Bridge   string  `json:"bridge,omitempty"` // of lan and guests; br-lan when empty
	HostName string  `json:"hostname,omitempty"`
}

// Lan is the port to the town's network. Its card is a member of the bridge; the
// addresses are on the bridge, or on its VLAN link when there is a VLAN.
type Lan struct {
	Port      Port           `json:"port"`
	Mode      string         `json:"mode"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateway4  netip.Addr     `json:"gateway4,omitzero"`
	Gateway6  netip.Addr     `json:"gateway6,omitzero"`
	DNS       []netip.Addr   `json:"dns,omitempty"`
	VLAN      int            `json:"vlan,omitempty"`
	IPv6      string         `json:"ipv6,omitempty"` // auto when empty
	// Operators are the networks from which a node's console can be reached; the whole
	// lan when empty.
	Operators []netip.Prefix `json:"operators,omitempty"`
}

// WithSettings is l with the settings of another one: its card stays, and so do the
// addresses that are not a person's to change.
func (l Lan) WithSettings(other Lan, stays func(netip.Prefix) bool) Lan {
	other.Port = l.Port
	other.Addresses = slices.DeleteFunc(slices.Clone(other.Addresses), stays)
	for _, a := range l.Addresses {
		if stays(a) {
			other.Addresses = append(other.Addresses, a)
		}
	}
	if other.IPv6 == "" {
		other.IPv6 = l.IPv6
	}
	if other.IPv6 == IPv6Off && slices.ContainsFunc(other.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
		other.IPv6, other.Gateway6 = IPv6Static, netip.Addr{} // those that stay, and nothing else
	}
	return other
}

// Fibre is a dedicated cable to the twin.
type Fibre struct {
	Name    string       `json:"name"` // fibre1 or fibre2
	Port    Port         `json:"port,omitempty"`
	Address netip.Prefix `json:"address"`
	MTU     int          `json:"mtu,omitempty"`
}

// Service is the address that citizens know; one node at a time holds it.
type Service struct {
	Address    netip.Prefix `json:"address,omitzero"`
	Address6   netip.Prefix `json:"address6,omitzero"`
	VirtualMAC string       `json:"virtualMac,omitempty"`
}

// WithDefaults fills what was left out.
func (c Config) WithDefaults() Config {
	if c.Bridge == "" {
		c.Bridge = DefaultBridge
	}
	if c.Lan.IPv6 == "" {
		c.Lan.IPv6 = IPv6Auto
	}
	c.Fibres = slices.Clone(c.Fibres)
	for i := range c.Fibres {
		if c.Fibres[i].MTU == 0 {
			c.Fibres[i].MTU = DefaultFibreMTU
		}
	}
	return c
}

// LanLink is the link that carries the lan's addresses.
func (c Config) LanLink() string {
	c = c.WithDefaults()
	if c.Lan.VLAN != 0 {
		return fmt.Sprintf("%s.%d", c.Bridge, c.Lan.VLAN)
	}
	return c.Bridge
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	c = c.WithDefaults()
	c.Lan.check(fault)
	if len(c.Bridge) > 10 || !linkName(c.Bridge) {
		fault("bridge %q: want a link name of at most 10 letters", c.Bridge)
	}
	for i, f := range c.Fibres {
		f.check(fault)
		for _, g := range c.Fibres[:i] {
			if f.Name == g.Name {
				fault("%s: named twice", f.Name)
			}
			if f.Address.IsValid() && f.Address.Overlaps(g.Address) {
				fault("%s: its network %v is also %s's; each cable wants its own", f.Name, f.Address.Masked(), g.Name)
			}
		}
		for _, a := range c.Lan.Addresses {
			if f.Address.IsValid() && f.Address.Overlaps(a) {
				fault("%s: its network %v overlaps the lan's %v", f.Name, f.Address.Masked(), a.Masked())
			}
		}
	}
	c.Service.check(fault)
	return errors.Join(faults...)
}

func (l Lan) check(fault func(string, ...any)) {
	if l.Port == "" {
		fault("lan: no port")
	}
	l.Port.check("lan", fault)
	switch l.Mode {
	case ModeDHCP:
	case ModeStatic:
		if !slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() }) &&
			(l.IPv6 != IPv6Static || len(l.Addresses) == 0) {
			fault("lan: mode static without an address")
		}
	default:
		fault("lan: mode %q, want dhcp or static", l.Mode)
	}
	for _, a := range l.Addresses {
		checkHost("lan: address", a, fault)
		if a.Addr().Is4() && l.Mode == ModeDHCP {
			fault("lan: address %v, but mode dhcp asks for one", a)
		}
		if a.Addr().Is6() && l.IPv6 == IPv6Off {
			fault("lan: address %v, but ipv6 is off", a)
		}
	}
	l.checkGateway("gateway4", l.Gateway4, l.Gateway4.Is4(), l.Mode == ModeStatic, fault)
	l.checkGateway("gateway6", l.Gateway6, l.Gateway6.Is6(), l.IPv6 == IPv6Static, fault)
	for _, d := range l.DNS {
		if !d.IsValid() || d.IsUnspecified() || d.IsMulticast() {
			fault("lan: dns %v: not an address of a server", d)
		}
	}
	for i, o := range l.Operators {
		switch {
		case !o.IsValid() || o.Addr().Is4In6() || o.Addr().Zone() != "":
			fault("lan: operators: no network")
		case o != o.Masked():
			fault("lan: operators: %v names a machine and a network: write %v or %v", o, o.Addr(), o.Masked())
		case o.Bits() == 0:
			fault("lan: operators: %v is everyone; leave them out instead", o)
		case slices.Contains(l.Operators[:i], o):
			fault("lan: operators: %v is named twice", o)
		}
	}
	if len(l.Operators) > MaxOperators {
		fault("lan: %d operators' networks, at most %d", len(l.Operators), MaxOperators)
	}
	if l.VLAN < 0 || l.VLAN > 4094 {
		fault("lan: vlan %d, want 1 to 4094, or none", l.VLAN)
	}
	if l.IPv6 != IPv6Auto && l.IPv6 != IPv6Static && l.IPv6 != IPv6Off {
		fault("lan: ipv6 %q, want auto, static or off", l.IPv6)
	}
}

// checkGateway wants a gateway only where it is used, and on a network of the lan.
func (l Lan) checkGateway(what string, g netip.Addr, family, used bool, fault func(string, ...any)) {
	switch {
	case !g.IsValid():
	case !family:
		fault("lan: %s %v: of the other family", what, g)
	case !used:
		fault("lan: %s %v: given, but that family is not static", what, g)
	case g.IsLinkLocalUnicast():
	case !slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Contains(g) && p.Addr() != g }):
		fault("lan: %s %v: not a neighbour on any of the lan's networks", what, g)
	}
}

func (f Fibre) check(fault func(string, ...any)) {
	if f.Name != "fibre1" && f.Name != "fibre2" {
		fault("fibre %q: want fibre1 or fibre2", f.Name)
	}
	f.Port.check(f.Name, fault)
	checkHost(f.Name+": address", f.Address, fault)
	if f.MTU < 1280 || f.MTU > 9216 {
		fault("%s: mtu %d, want 1280 to 9216", f.Name, f.MTU)
	}
}

func (s Service) check(fault func(string, ...any)) {
	if s == (Service{}) {
		return
	}
	if !s.Address.IsValid() && !s.Address6.IsValid() {
		fault("service: a MAC without an address")
	}
	if s.Address.IsValid() {
		checkHost("service: address", s.Address, fault)
		if !s.Address.Addr().Is4() {
			fault("service: address %v: want IPv4", s.Address)
		}
	}
	if s.Address6.IsValid() {
		checkHost("service: address6", s.Address6, fault)
		if !s.Address6.Addr().Is6() {
			fault("service: address6 %v: want IPv6", s.Address6)
		}
	}
	if m, err := net.ParseMAC(s.VirtualMAC); err != nil || len(m) != 6 || m[0]&3 != 2 {
		fault("service: virtualMac %q: want a locally administered address of one card, such as 02:be:ff:00:00:01", s.VirtualMAC)
	}
}

func checkHost(what string, p netip.Prefix, fault func(string, ...any)) {
	switch a := p.Addr(); {
	case !p.IsValid():
		fault("%s: missing", what)
	case a.Is4In6() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
		fault("%s %v: not an address of a host", what, p)
	case p.Bits() < 1:
		fault("%s %v: no network", what, p)
	case p.IsSingleIP():
	case a == p.Masked().Addr() && a.Is4() && p.Bits() < 31:
		fault("%s %v: the network's own address", what, p)
	}
}

func (p Port) check(role string, fault func(string, ...any)) {
	s := string(p)
	switch {
	case s == "":
	case s[0] == '#':
		if _, err := p.index(); err != nil {
			fault("%s: port %q: want # and a number", role, s)
		}
	case strings.Contains(s, ":"):
		if m, err := net.ParseMAC(s); err != nil || len(m) != 6 {
			fault("%s: port %q: not a MAC address", role, s)
		}
	case !linkName(s):
		fault("%s: port %q: not a link name", role, s)
	}
}

func (p Port) index() (int, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(string(p), "#"), 10, 8)
	return int(n), err
}

// linkName reports whether the kernel takes s as the name of a link.
func linkName(s string) bool {
	return s != "" && len(s) <= 15 && s != "." && s != ".." &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' || r == '%' })
}
