package rescue

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/rescue/screen"
	"beffroi.dev/pkg/host/netcfg"
)

// The choices of the form, in its order.
var (
	modes4 = []string{netcfg.ModeDHCP, netcfg.ModeStatic}
	modes6 = []string{netcfg.IPv6Auto, netcfg.IPv6Static, netcfg.IPv6Off}
)

// newLan is the form of the lan's settings, filled in as they are.
func newLan(m *Model) view {
	l := m.snap.Operator.Lan
	var address4, address6, dns, operators []string
	for _, a := range l.Addresses {
		if a.Addr().Is4() {
			address4 = append(address4, a.String())
		} else {
			address6 = append(address6, a.String())
		}
	}
	for _, d := range l.DNS {
		dns = append(dns, d.String())
	}
	for _, o := range l.Operators {
		operators = append(operators, network(o))
	}
	vlan, mode6 := "", slices.Index(modes6, l.IPv6)
	if l.VLAN != 0 {
		vlan = strconv.Itoa(l.VLAN)
	}
	if l.IPv6 == netcfg.IPv6Static && len(address6) == 0 { // the pair's own address, which is no person's
		mode6 = slices.Index(modes6, netcfg.IPv6Off)
	}
	return &formView{name: "lan", do: tryLan, fields: []*field{
		choice("lan.mode", slices.Index(modes4, l.Mode), "lan.dhcp", "lan.static"),
		text("lan.address", strings.Join(address4[:min(len(address4), 1)], ""), 18), text("lan.gateway", written(l.Gateway4), 15),
		choice("lan.ipv6", mode6, "lan.auto", "lan.static", "lan.off"),
		text("lan.address6", strings.Join(address6, " "), 120), text("lan.gateway6", written(l.Gateway6), 40),
		text("lan.dns", strings.Join(dns, " "), 120), text("lan.vlan", vlan, 4),
		text("lan.operators", strings.Join(operators, " "), 240),
	}}
}

// written is an address, or nothing.
func written(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// network writes a network from which the console can be reached; a machine without its
// size, as people write it.
func network(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// readLan takes what was typed; a fault is a key of the table, and the field.
func readLan(old netcfg.Lan, v *formView) (l netcfg.Lan, bad, field string) {
	word := func(name string) string { return strings.TrimSpace(v.get(name).value()) }
	list := func(name string) []string { return strings.Fields(strings.ReplaceAll(word(name), ",", " ")) }
	l = netcfg.Lan{Port: old.Port, Mode: modes4[v.get("lan.mode").chosen], IPv6: modes6[v.get("lan.ipv6").chosen]}
	if s := word("lan.vlan"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 4094 {
			return l, "bad.vlan", "lan.vlan"
		}
		l.VLAN = n
	}
	for _, s := range list("lan.dns") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return l, "bad.dns", "lan.dns"
		}
		l.DNS = append(l.DNS, a)
	}
	if bad, field = readIPv4(&l, word("lan.address"), word("lan.gateway")); bad != "" {
		return l, bad, field
	}
	if bad, field = readIPv6(&l, list("lan.address6"), word("lan.gateway6")); bad != "" {
		return l, bad, field
	}
	l.Operators, bad = readOperators(list("lan.operators"))
	return l, bad, "lan.operators"
}

// readIPv4 takes the fixed address and the gateway; both are without effect with DHCP.
func readIPv4(l *netcfg.Lan, address, gateway string) (bad, field string) {
	if l.Mode == netcfg.ModeDHCP {
		return "", ""
	}
	p, err := netip.ParsePrefix(address)
	switch {
	case !strings.Contains(address, "/"):
		return "bad.noprefix", "lan.address"
	case err != nil || !p.Addr().Is4():
		return "bad.address", "lan.address"
	case p.Bits() < 31 && p.Addr() == p.Masked().Addr():
		return "bad.netaddress", "lan.address"
	}
	l.Addresses = append(l.Addresses, p)
	if gateway == "" {
		return "", ""
	}
	g, err := netip.ParseAddr(gateway)
	if err != nil || !g.Is4() {
		return "bad.gateway", "lan.gateway"
	}
	if !p.Contains(g) || g == p.Addr() {
		return "bad.faraway", "lan.gateway"
	}
	l.Gateway4 = g
	return "", ""
}

// readIPv6 takes fixed addresses, which may be there beside automatic ones, and the
// gateway, which the routers tell unless the addresses are fixed.
func readIPv6(l *netcfg.Lan, addresses []string, gateway string) (bad, field string) {
	if l.IPv6 == netcfg.IPv6Off {
		return "", ""
	}
	var own []netip.Prefix
	for _, s := range addresses {
		p, err := netip.ParsePrefix(s)
		switch a := p.Addr(); {
		case !strings.Contains(s, "/"):
			return "bad.noprefix6", "lan.address6"
		case err != nil || !a.Is6() || a.Is4In6() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsLoopback() || a.IsUnspecified():
			return "bad.address6", "lan.address6"
		case p.Bits() < 8 || p.Bits() < 127 && a == p.Masked().Addr():
			return "bad.netaddress", "lan.address6"
		}
		own = append(own, p)
	}
	l.Addresses = append(l.Addresses, own...)
	if l.IPv6 == netcfg.IPv6Auto {
		return "", ""
	}
	if len(own) == 0 {
		return "bad.noprefix6", "lan.address6"
	}
	if gateway == "" {
		return "", ""
	}
	g, err := netip.ParseAddr(gateway)
	if err != nil || !g.Is6() || g.Is4In6() || g.Zone() != "" {
		return "bad.gateway6", "lan.gateway6"
	}
	if !g.IsLinkLocalUnicast() && !slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Contains(g) && p.Addr() != g }) {
		return "bad.faraway", "lan.gateway6"
	}
	l.Gateway6 = g
	return "", ""
}

// readOperators takes machines and networks.
func readOperators(list []string) (all []netip.Prefix, bad string) {
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if a, notNetwork := netip.ParseAddr(s); notNetwork == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case err != nil || p.Addr().Is4In6() || p.Addr().Zone() != "" || p.Bits() == 0 || p.Addr().IsUnspecified() || p.Addr().IsMulticast():
			return nil, "bad.operators"
		case p != p.Masked():
			return nil, "bad.operatorhost"
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	if len(all) > netcfg.MaxOperators {
		return nil, "bad.manyoperators"
	}
	return all, ""
}

func tryLan(m *Model, v *formView) []Effect {
	l, bad, at := readLan(*m.snap.Operator.Lan, v)
	if bad != "" {
		v.wrong = m.t(bad)
		for i, f := range v.fields {
			if f.name == at {
				v.at = i
			}
		}
		return nil
	}
	m.push(newConfirm("lan", "confirm.lan", func(m *Model) []line {
		lines := append(m.asked(l), nil)
		lines = append(lines, paragraph(screen.Plain, m.t("lan.means"))...)
		if len(l.Operators) > 0 {
			lines = append(lines, paragraph(screen.Warn, m.t("lan.narrow"))...)
		}
		if m.snap.Pairing.Paired {
			lines = append(lines, m.fixed()...)
			if l.VLAN != m.snap.Operator.Lan.VLAN {
				lines = append(lines, paragraph(screen.Warn, m.t("lan.othervlan"))...)
			}
		}
		return lines
	}, ask(operator.Ask{Do: operator.TryLan, Lan: &l})))
	return nil
}

// asked is what a lan would be, in some lines.
func (m *Model) asked(l netcfg.Lan) (lines []line) {
	v4, v6 := m.t("lan.dhcp"), []string{}
	for _, a := range l.Addresses {
		if a.Addr().Is4() {
			v4 = a.String()
		} else {
			v6 = append(v6, a.String())
		}
	}
	if l.Gateway4.IsValid() {
		v4 += " > " + l.Gateway4.String()
	}
	if l.VLAN != 0 {
		v4 += ", VLAN " + strconv.Itoa(l.VLAN)
	}
	six := strings.Join(v6, " ")
	if l.IPv6 != netcfg.IPv6Static {
		six = join(m.t(yes(l.IPv6 == netcfg.IPv6Auto, "lan.auto", "lan.off")), six)
	}
	if l.Gateway6.IsValid() {
		six += " > " + l.Gateway6.String()
	}
	lines = labelled(lines, statusAt, m.t("lan.row4"), screen.Bold, v4)
	lines = labelled(lines, statusAt, m.t("lan.row6"), screen.Bold, six)
	return labelled(lines, statusAt, m.t("row.operators"), screen.Bold, m.operators(&l))
}

// maxShown is how many networks of operators a screen names.
const maxShown = 3

// operators says from where the console can be reached.
func (m *Model) operators(l *netcfg.Lan) string {
	if len(l.Operators) == 0 {
		return m.t("operators.all")
	}
	var all []string
	for _, o := range l.Operators[:min(len(l.Operators), maxShown)] {
		all = append(all, network(o))
	}
	text := strings.Join(all, " ")
	if more := len(l.Operators) - len(all); more > 0 {
		text += m.t("operators.more", more)
	}
	return text
}

// fixed says what else must be changed.
func (m *Model) fixed() []line {
	f := m.snap.Operator.Fixed
	if len(f) == 0 {
		return append([]line{nil}, paragraph(screen.Plain, m.t("lan.free"))...)
	}
	return append([]line{nil}, paragraph(screen.Warn, m.t("lan.fixed", clip(strings.Join(f, ", "), 40)))...)
}

// trialView is a network that is tried: it is kept, or undone by itself.
type trialView struct {
	listView
	begun time.Time
}

func newTrial(m *Model) view {
	do := func(d operator.Deed) func(*Model) []Effect {
		return func(m *Model) []Effect { return m.act(ask(operator.Ask{Do: d})) }
	}
	v := &trialView{begun: m.now}
	v.listView = listView{name: "trial", intro: func(m *Model) []line {
		left := m.t("trial.begins") // until what init says of it has come
		if s := m.snap.Operator.Trial; s > 0 {
			left = m.t("trial.left", span(m.Lang, time.Duration(s)*time.Second))
		}
		lines := paragraph(screen.Bold, left)
		lines = append(lines, paragraph(screen.Plain, m.t("trial.look"))...)
		return append(append(lines, nil), m.ports(statusAt)...)
	}, entries: func(m *Model) []entry {
		return []entry{{m.t("trial.undo"), do(operator.UndoLan)}, {m.t("trial.keep"), do(operator.KeepLan)}}
	}}
	return v
}

// trialSeen is when a trial must have shown up in what init says.
const trialSeen = 5 * time.Second

func (v *trialView) tick(m *Model) []Effect {
	if m.snap.Operator.Trial == 0 && m.busy == "" && m.now.Sub(v.begun) > trialSeen {
		m.goHome()
		m.tell(true, "notice.undone")
	}
	return nil
}
