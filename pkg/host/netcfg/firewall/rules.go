package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Config says what is where.
type Config struct {
	Lan       string         // the link with the lan's addresses
	LanCard   string         // the card by which the bridge of Lan reaches the town; empty: there is no bridge, or no card
	Guests    string         // how the ethernet addresses of the pair's guests begin, such as 52:ab:cd; empty: there are none
	Service   string         // the link of the service address; need not be there yet
	Addresses []netip.Addr   // the service addresses
	Fibres    []Fibre        //
	Citizens  []uint16       // TCP ports for everyone; DefaultCitizens when nil
	Console   []uint16       // TCP ports of the console, on the node's own addresses
	Votes     []uint16       // TCP ports of the vote and the transport on the lan
	Data      []uint16       // TCP ports of data and votes on the fibres
	Pairing   uint16         // TCP and UDP port of the pairing, on the lan and the fibres; 0: closed
	Operators []netip.Prefix // who may reach the console; everyone on the lan but guests when empty
}

// Fibre is one cable to the twin.
type Fibre struct {
	Link    string
	Address netip.Prefix // ours, with the network of the two ends
}

// DefaultCitizens are the ports of the web.
var DefaultCitizens = []uint16{80, 443}

// The counters of what was dropped.
const (
	DropLan     = "drop-lan"
	DropService = "drop-service"
	DropFibre   = "drop-fibre"
	DropCrossed = "drop-crossed" // for a fibre's address, but not from that fibre
	DropGuest   = "drop-guest"   // a guest's, for what is not the citizens'
	DropForged  = "drop-forged"  // a guest's with another source address, for the nodes' ports
	DropForward = "drop-forward"
	DropOther   = "drop-other"
)

// Counters are all of them.
var Counters = []string{DropLan, DropService, DropFibre, DropCrossed, DropGuest, DropForward, DropOther, DropForged}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	links := []string{c.Lan, c.Service}
	for _, f := range c.Fibres {
		links = append(links, f.Link)
		if !f.Address.IsValid() {
			fault("fibre %s: no address", f.Link)
		}
	}
	for i, l := range links {
		if l == "" || len(l) > 15 || strings.ContainsAny(l, " /\x00") {
			fault("link %q: not a link name", l)
		}
		if slices.Contains(links[:i], l) {
			fault("link %s: has two roles", l)
		}
	}
	for what, ports := range map[string][]uint16{"citizens": c.Citizens, "console": c.Console, "votes": c.Votes, "data": c.Data} {
		if slices.Contains(ports, 0) {
			fault("%s: port 0", what)
		}
	}
	for _, a := range c.Addresses {
		if !a.IsValid() {
			fault("service: not an address")
		}
	}
	for _, p := range c.Operators {
		if !p.IsValid() {
			fault("operators: not a network")
		}
	}
	if c.LanCard != "" && slices.Contains(links, c.LanCard) || len(c.LanCard) > 15 {
		fault("link %s: has two roles", c.LanCard)
	}
	if _, err := sourceBytes(c.Guests); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// Rule permits, drops or marks. An empty field means: any.
type Rule struct {
	In          string // link
	NotIn       string // any link but this; of a frame in the bridge
	Source      string // the beginning of its ethernet address; of a frame in the bridge
	NotSource   string // any other
	Guest       bool   // the bridge has marked it
	From, To    netip.Prefix
	Proto       string // tcp, udp, icmp, icmpv6
	Port        uint16 // destination
	Type        int    // of ICMP, with Proto icmp and icmpv6; 0 means any
	Established bool
	Mark        bool   // as a guest's, and go on
	Drop        string // the counter; empty: accept
}

// ICMP types.
const (
	echoRequest = 8

	packetTooBig        = 2
	echoRequest6        = 128
	listenerQuery       = 130
	listenerReport      = 131
	listenerDone        = 132
	routerAdvertisement = 134
	solicitation        = 135
	advertisement       = 136
	listenerReport2     = 143
)

// Rules gives the rules for what comes in, in order. What passes all of them is
// dropped and counted as DropOther.
func Rules(c Config) []Rule {
	if c.Citizens == nil {
		c.Citizens = DefaultCitizens
	}
	rules := []Rule{{In: "lo"}, {Established: true}}
	for _, f := range c.Fibres {
		rules = append(rules, c.fibre(f)...)
	}
	for _, f := range c.Fibres {
		rules = append(rules, Rule{To: host(f.Address.Addr()), Drop: DropCrossed})
	}
	rules = append(rules, neighbours(c.Lan)...)
	rules = append(rules, neighbours(c.Service)...)
	rules = append(rules,
		Rule{In: c.Lan, Proto: "udp", Port: 68}, // DHCP
		Rule{In: c.Lan, Proto: "icmpv6", Type: routerAdvertisement})
	rules = append(rules, ports(Rule{In: c.Lan}, c.Citizens)...)
	for _, a := range c.Addresses {
		rules = append(rules, ports(Rule{In: c.Service, To: host(a)}, c.Citizens)...)
	}
	for _, a := range c.Addresses { // nothing else lives at the service address
		rules = append(rules, Rule{To: host(a), Drop: DropService})
	}
	rules = append(rules, Rule{In: c.Service, Drop: DropService})
	if c.LanCard != "" || c.Guests != "" { // the rest is not for them
		rules = append(rules, Rule{In: c.Lan, Guest: true, Drop: DropGuest})
	}
	rules = append(rules, c.console()...)
	rules = append(rules, ports(Rule{In: c.Lan}, c.Votes)...)
	rules = append(rules, c.pairing(c.Lan)...)
	return append(rules, Rule{In: c.Lan, Drop: DropLan}, Rule{Drop: DropOther})
}

// fibre closes a cable to all but the twin's ports.
func (c Config) fibre(f Fibre) []Rule {
	from := Rule{In: f.Link, From: f.Address.Masked(), To: host(f.Address.Addr())}
	echo := from
	echo.Proto, echo.Type = "icmp", echoRequest
	if f.Address.Addr().Is6() {
		echo.Proto, echo.Type = "icmpv6", echoRequest6
	}
	rules := append([]Rule{echo}, ports(from, c.Data)...)
	rules = append(rules, c.pairing(f.Link)...)
	if f.Address.Addr().Is6() {
		for _, t := range []int{solicitation, advertisement} {
			rules = append(rules, Rule{In: f.Link, Proto: "icmpv6", Type: t})
		}
	}
	return append(rules, Rule{In: f.Link, Drop: DropFibre})
}

// neighbours lets a link be found and tested. Errors about our own connections
// are permitted as established.
func neighbours(link string) []Rule {
	rules := []Rule{{In: link, Proto: "icmp", Type: echoRequest}}
	for _, t := range []int{packetTooBig, echoRequest6, listenerQuery, listenerReport, listenerDone, solicitation, advertisement, listenerReport2} {
		rules = append(rules, Rule{In: link, Proto: "icmpv6", Type: t})
	}
	return rules
}

// pairing opens a link to a node without a pair, which has no address there but its
// link-local one.
func (c Config) pairing(link string) []Rule {
	if c.Pairing == 0 {
		return nil
	}
	rules := []Rule{{In: link, Proto: "tcp", Port: c.Pairing}, {In: link, Proto: "udp", Port: c.Pairing}}
	for _, t := range []int{solicitation, advertisement} {
		rules = append(rules, Rule{In: link, Proto: "icmpv6", Type: t})
	}
	return rules
}

func (c Config) console() []Rule {
	if len(c.Operators) == 0 {
		return ports(Rule{In: c.Lan}, c.Console)
	}
	var rules []Rule
	for _, o := range c.Operators {
		rules = append(rules, ports(Rule{In: c.Lan, From: o.Masked()}, c.Console)...)
	}
	return rules
}

func ports(r Rule, list []uint16) []Rule {
	rules := make([]Rule, len(list))
	for i, p := range list {
		rules[i], rules[i].Proto, rules[i].Port = r, "tcp", p
	}
	return rules
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// String writes a rule as the nft program would.
func (r Rule) String() string {
	var s []string
	add := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	if r.In != "" {
		add("iifname %q", r.In)
	}
	if r.NotIn != "" {
		add("iifname != %q", r.NotIn)
	}
	if r.Source != "" {
		add("ether saddr %s", r.Source)
	}
	if r.NotSource != "" {
		add("ether saddr != %s", r.NotSource)
	}
	if r.Guest {
		add("meta mark %#x", guestMark)
	}
	for _, p := range []struct {
		side string
		net  netip.Prefix
	}{{"saddr", r.From}, {"daddr", r.To}} {
		if !p.net.IsValid() {
			continue
		}
		family, what := "ip", p.net.String()
		if p.net.Addr().Is6() {
			family = "ip6"
		}
		if p.net.IsSingleIP() {
			what = p.net.Addr().String()
		}
		add("%s %s %s", family, p.side, what)
	}
	switch {
	case r.Port != 0:
		add("%s dport %d", r.Proto, r.Port)
	case r.Type != 0:
		add("%s type %d", r.Proto, r.Type)
	}
	if r.Established {
		add("ct state established,related")
	}
	switch {
	case r.Mark:
		add("meta mark set %#x", guestMark)
	case r.Drop != "":
		add("counter name %q drop", r.Drop)
	default:
		add("accept")
	}
	return strings.Join(s, " ")
}
