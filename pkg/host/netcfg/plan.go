package netcfg

import (
	"fmt"
	"net/netip"
	"time"
)

// Kinds of links that a plan speaks of; any other is left alone.
const (
	KindBridge = "bridge"
	KindVLAN   = "vlan"
	KindCard   = "card" // anything that has a cable
)

// Lease is what a DHCP server grants for a while.
type Lease struct {
	Address  netip.Prefix `json:"address"`
	Gateway  netip.Addr   `json:"gateway,omitzero"`
	DNS      []netip.Addr `json:"dns,omitempty"`
	Domain   string       `json:"domain,omitempty"`
	Server   netip.Addr   `json:"server,omitzero"`
	Obtained time.Time    `json:"obtained"`
	Renew    time.Time    `json:"renew"`
	Rebind   time.Time    `json:"rebind"`
	Expires  time.Time    `json:"expires"`
}

// Link is a link as it is or as it should be. In a plan an empty Master means
// none, a zero MTU and an empty MAC mean: as it comes.
type Link struct {
	Name   string
	Kind   string
	Alias  string // "beffroi:" and a role: the mark of what is ours
	Master string
	Parent string
	VLAN   int
	MTU    int
	MAC    string
	Up     bool
}

// Address is an address of a link.
type Address struct {
	Link   string
	Prefix netip.Prefix
}

// Route is a route of ours; Dst is a default route when its length is 0.
type Route struct {
	Link    string
	Dst     netip.Prefix
	Gateway netip.Addr
}

// Sysctl is a kernel setting, by its path under /proc/sys. An optional one may be
// missing: a kernel without IPv6, a module that is not loaded.
type Sysctl struct {
	Path     string
	Value    string
	Optional bool
}

// Plan is everything that must be there.
type Plan struct {
	Links     []Link
	Addresses []Address
	Routes    []Route
	Sysctls   []Sysctl
	// Undecided names a link whose IPv4 addresses and routes are left as they are,
	// because nobody knows yet what the DHCP server says.
	Undecided string
}

// Offer is what DHCP has said so far: nothing yet, no lease, or a lease.
type Offer struct {
	Known bool
	Lease *Lease
}

const (
	alias       = "beffroi:"
	aliasBridge = alias + "bridge"
	aliasVLAN   = alias + "vlan"
	aliasTap    = alias + "tap:"
)

var (
	default4 = netip.MustParsePrefix("0.0.0.0/0")
	default6 = netip.MustParsePrefix("::/0")
)

// MakePlan says what the configuration asks for on these cards. A role without a
// card is left out; the bridge is there in any case, for the guests.
func MakePlan(cfg Config, roles Roles, offer Offer) Plan {
	cfg = cfg.WithDefaults()
	var p Plan
	p.host()
	p.lan(cfg, roles)
	p.lanAddresses(cfg, offer)
	for _, f := range cfg.Fibres {
		if c, ok := roles[f.Name]; ok {
			p.fibre(f, c)
		}
	}
	return p
}

// host has every answer leave through the link that has the address, and nothing
// forwarded.
func (p *Plan) host() {
	p.Links = append(p.Links, Link{Name: "lo", Up: true})
	p.set(false, "net/ipv4/ip_forward", "0")
	p.set(false, "net/ipv4/ip_unprivileged_port_start", "80") // the citizen service needs no other right
	for _, c := range []string{"all", "default"} {
		p.set(false, "net/ipv4/conf/"+c+"/arp_ignore", "1")   // answer only for addresses of the link that is asked
		p.set(false, "net/ipv4/conf/"+c+"/arp_announce", "2") // ask with an address of the link that asks
		p.set(false, "net/ipv4/conf/"+c+"/rp_filter", "2")    // loose: the service address has a twin route
		p.set(false, "net/ipv4/conf/"+c+"/accept_redirects", "0")
		p.set(false, "net/ipv4/conf/"+c+"/send_redirects", "0")
		p.set(true, "net/ipv6/conf/"+c+"/forwarding", "0")
		p.set(true, "net/ipv6/conf/"+c+"/accept_redirects", "0")
	}
	p.set(true, "net/ipv6/conf/default/accept_ra", "0") // links that are not the lan's
	for _, f := range []string{"iptables", "ip6tables", "arptables"} {
		p.set(true, "net/bridge/bridge-nf-call-"+f, "0") // what guests say to each other is not ours to filter
	}
}

func (p *Plan) set(optional bool, path, value string) {
	p.Sysctls = append(p.Sysctls, Sysctl{Path: path, Value: value, Optional: optional})
}

func (p *Plan) lan(cfg Config, roles Roles) {
	bridge := Link{Name: cfg.Bridge, Kind: KindBridge, Alias: aliasBridge, Up: true}
	if c, ok := roles[RoleLan]; ok {
		bridge.MAC = c.MAC.String() // else it changes with every tap, and with it the lease
		p.Links = append(p.Links, bridge,
			Link{Name: c.Name, Kind: KindCard, Alias: alias + RoleLan, Master: cfg.Bridge, Up: true})
		p.set(true, "net/ipv6/conf/"+c.Name+"/disable_ipv6", "1")
	} else {
		p.Links = append(p.Links, bridge)
	}
	l := cfg.LanLink()
	if cfg.Lan.VLAN != 0 {
		p.Links = append(p.Links, Link{Name: l, Kind: KindVLAN, Alias: aliasVLAN, Parent: cfg.Bridge, VLAN: cfg.Lan.VLAN, Up: true})
		p.set(true, "net/ipv6/conf/"+cfg.Bridge+"/disable_ipv6", "1")
	}
	off, ra := "0", "0"
	switch cfg.Lan.IPv6 {
	case IPv6Off:
		off = "1"
	case IPv6Auto:
		ra = "2"
	}
	p.set(true, "net/ipv6/conf/"+l+"/disable_ipv6", off)
	p.set(true, "net/ipv6/conf/"+l+"/accept_ra", ra)
	p.set(true, "net/ipv6/conf/"+l+"/autoconf", map[string]string{"0": "0", "2": "1"}[ra])
}

func (p *Plan) lanAddresses(cfg Config, offer Offer) {
	l := cfg.LanLink()
	for _, a := range cfg.Lan.Addresses {
		p.Addresses = append(p.Addresses, Address{l, a})
	}
	gateway4 := cfg.Lan.Gateway4
	if cfg.Lan.Mode == ModeDHCP {
		switch {
		case !offer.Known:
			p.Undecided = l
		case offer.Lease != nil:
			p.Addresses = append(p.Addresses, Address{l, offer.Lease.Address})
			gateway4 = offer.Lease.Gateway
		}
	}
	if gateway4.IsValid() {
		p.Routes = append(p.Routes, Route{l, default4, gateway4})
	}
	if cfg.Lan.Gateway6.IsValid() {
		p.Routes = append(p.Routes, Route{l, default6, cfg.Lan.Gateway6})
	}
}

func (p *Plan) fibre(f Fibre, c Card) {
	p.Links = append(p.Links, Link{Name: c.Name, Kind: KindCard, Alias: alias + f.Name, MTU: f.MTU, Up: true})
	p.set(true, "net/ipv6/conf/"+c.Name+"/accept_ra", "0")
	p.set(true, "net/ipv6/conf/"+c.Name+"/disable_ipv6", map[bool]string{true: "1", false: "0"}[f.Address.Addr().Is4()])
	p.Addresses = append(p.Addresses, Address{c.Name, f.Address})
}

// Names are the DNS servers in use: the configured ones, or the lease's.
func Names(cfg Config, offer Offer) []netip.Addr {
	if len(cfg.Lan.DNS) > 0 || offer.Lease == nil {
		return cfg.Lan.DNS
	}
	return offer.Lease.DNS
}

func (l Link) String() string {
	s := fmt.Sprintf("%s %s", l.Kind, l.Name)
	if l.Kind == KindVLAN {
		s += fmt.Sprintf(" (%d on %s)", l.VLAN, l.Parent)
	}
	return s
}
