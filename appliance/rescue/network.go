package rescue

import (
	"net/netip"
	"strings"

	"beffroi.dev/appliance/rescue/screen"
)

// networkView shows the ports and addresses, and opens the form of the lan.
type networkView struct{}

func (networkView) title(m *Model) string { return m.t("title.network") }
func (networkView) key(m *Model, k screen.Key) []Effect {
	if k.Code == screen.Char && k.Rune == 'e' && m.snap.Operator.Lan != nil {
		m.push(newLan(m))
		return nil
	}
	return turnPages(m, k)
}

func (networkView) draw(m *Model) content {
	c := content{focus: -1}
	c.body = m.ports(statusAt)
	c.body = labelled(c.body, statusAt, m.t("row.gateway"), screen.Plain, m.gateways())
	if l := m.snap.Operator.Lan; l != nil {
		c.body = labelled(c.body, statusAt, m.t("row.operators"), screen.Plain, m.operators(l))
	}
	if s := m.snap.Net.Service; s != "" {
		c.body = labelled(c.body, statusAt, m.t("row.service"), screen.Plain, clip(s, 50))
	}
	c.gap()
	for i, k := range m.snap.Net.Cards {
		text, style := m.t("card.at", known(m.Lang, "port.", clip(k.Role, 16)), clip(k.Name, 15)), screen.Plain
		text = join(text, yes(k.Twin && k.Role != "lan", m.t("up"), ""))
		if k.Name == "" {
			text, style = m.t("card.at", known(m.Lang, "port.", clip(k.Role, 16)), m.t("card.none")), screen.Bad
		}
		if k.From != "" {
			text, style = join(text, m.t("card.from", clip(k.From, 15))), screen.Bold
		}
		c.body = labelled(c.body, statusAt, yes(i == 0, m.t("row.cards"), ""), style, text)
	}
	c.gap()
	if p := &m.snap.Pair; p.Known {
		for i, l := range p.Links {
			style := [...]screen.Style{screen.Warn, screen.Plain}[btoi(l.Up)]
			text := join(known(m.Lang, "port.", clip(l.Path, 16))+" > "+clip(l.Peer, 20), m.t(yes(l.Up, "link.up", "link.cut")), yes(l.Data, m.t("link.data"), ""))
			c.body = labelled(c.body, statusAt, yes(i == 0, m.t("row.links"), ""), style, text)
		}
		c.gap()
	}
	if m.snap.Operator.Lan != nil {
		c.keys = "bottom.network"
		c.text(screen.Plain, m.t("net.edit"))
	} else {
		c.text(screen.Plain, m.t("net.how"))
	}
	return c
}

// gateways are the default routes, IPv4 first.
func (m *Model) gateways() string {
	var all []string
	for _, g := range []netip.Addr{m.snap.Net.Gateway, m.snap.Net.Gateway6} {
		if g.IsValid() {
			all = append(all, g.String())
		}
	}
	if len(all) == 0 {
		return m.t("net.nogateway")
	}
	return strings.Join(all, " ")
}
