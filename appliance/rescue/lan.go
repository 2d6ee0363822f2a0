package rescue

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/rescue/screen"
	"beffroi.dev/pkg/host/netcfg"
)

// newLan is the form of the lan's settings, filled in as they are.
func newLan(m *Model) view {
	l := m.snap.Operator.Lan
	address, gateway, vlan, mode := "", "", "", 0
	var dns []string
	if l.Mode == netcfg.ModeStatic {
		mode = 1
	}
	for _, a := range l.Addresses {
		if a.Addr().Is4() {
			address = a.String()
			break
		}
	}
	if l.Gateway4.IsValid() {
		gateway = l.Gateway4.String()
	}
	if l.VLAN != 0 {
		vlan = strconv.Itoa(l.VLAN)
	}
	for _, d := range l.DNS {
		dns = append(dns, d.String())
	}
	return &formView{name: "lan", do: tryLan, fields: []*field{
		choice("lan.mode", mode, "lan.dhcp", "lan.static"), text("lan.address", address, 18), text("lan.gateway", gateway, 15),
		text("lan.dns", strings.Join(dns, " "), 60), text("lan.vlan", vlan, 4),
	}}
}

// readLan takes what was typed; a fault is a key of the table, and the field.
func readLan(old netcfg.Lan, v *formView) (l netcfg.Lan, bad, field string) {
	l = old
	word := func(name string) string { return strings.TrimSpace(v.get(name).value()) }
	l.Mode, l.Addresses, l.Gateway4, l.DNS, l.VLAN = netcfg.ModeDHCP, nil, netip.Addr{}, nil, 0
	for _, a := range old.Addresses { // IPv6 is not a matter of this form
		if a.Addr().Is6() {
			l.Addresses = append(l.Addresses, a)
		}
	}
	if s := word("lan.vlan"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 4094 {
			return l, "bad.vlan", "lan.vlan"
		}
		l.VLAN = n
	}
	for s := range strings.FieldsSeq(strings.ReplaceAll(word("lan.dns"), ",", " ")) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return l, "bad.dns", "lan.dns"
		}
		l.DNS = append(l.DNS, a)
	}
	if v.get("lan.mode").chosen == 0 {
		return l, "", ""
	}
	l.Mode = netcfg.ModeStatic
	p, err := netip.ParsePrefix(word("lan.address"))
	switch {
	case !strings.Contains(word("lan.address"), "/"):
		return l, "bad.noprefix", "lan.address"
	case err != nil || !p.Addr().Is4():
		return l, "bad.address", "lan.address"
	case p.Bits() < 31 && p.Addr() == p.Masked().Addr():
		return l, "bad.netaddress", "lan.address"
	}
	l.Addresses = append(l.Addresses, p)
	if s := word("lan.gateway"); s != "" {
		g, err := netip.ParseAddr(s)
		if err != nil || !g.Is4() {
			return l, "bad.gateway", "lan.gateway"
		}
		if !p.Contains(g) || g == p.Addr() {
			return l, "bad.faraway", "lan.gateway"
		}
		l.Gateway4 = g
	}
	return l, "", ""
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
		text := m.t("lan.dhcp")
		if l.Mode == netcfg.ModeStatic {
			text = l.Addresses[len(l.Addresses)-1].String()
			if l.Gateway4.IsValid() {
				text += " > " + l.Gateway4.String()
			}
		}
		if l.VLAN != 0 {
			text += ", VLAN " + strconv.Itoa(l.VLAN)
		}
		lines := append(paragraph(screen.Bold, text), nil)
		lines = append(lines, paragraph(screen.Plain, m.t("lan.means"))...)
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
