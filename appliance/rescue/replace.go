package rescue

import (
	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/appliance/rescue/screen"
)

// mayReplace is true where init can be asked to: a node of a pair, on an appliance.
func (m *Model) mayReplace() bool {
	return m.snap.Pairing.Paired && m.snap.Operator.Profile != ""
}

// replacing opens the next question of a replacement, or says why there is none.
func replacing(m *Model) []Effect {
	p, twin := m.pairing(), m.snap.Pair.twin()
	switch {
	case p != nil && p.Act.Replaces != "" && (p.Act.Working || p.Act.Fault != nil):
		m.push(replaceView{})
	case twin.Up:
		m.push(newReason("replace.alive", twin.Name))
	case !m.snap.Pair.Vouched:
		m.push(newReason("replace.novotes"))
	default:
		m.push(newReplace(twin))
	}
	return nil
}

// newReason says why something cannot be done now.
func newReason(key string, args ...any) view {
	return &listView{name: "replace", intro: func(m *Model) []line { return paragraph(screen.Warn, m.t(key, args...)) },
		entries: func(m *Model) []entry {
			return []entry{{m.t("confirm.back"), func(m *Model) []Effect { m.pop(); return nil }}}
		}}
}

// newReplace says what a replacement means, and asks.
func newReplace(twin Member) view {
	intro := func(m *Model) []line {
		lines := append(paragraph(screen.Bold, m.t("replace.means", clip(twin.Name, 20), clip(twin.Site, 30))), nil)
		lines = append(lines, paragraph(screen.Warn, m.t("replace.never"))...)
		lines = append(lines, paragraph(screen.Plain, m.t("replace.copies"))...)
		return append(lines, paragraph(screen.Plain, m.t("replace.before"))...)
	}
	return &listView{name: "replace", intro: intro, entries: func(m *Model) []entry {
		return []entry{
			{m.t("confirm.no"), func(m *Model) []Effect { m.pop(); return nil }},
			{m.t("confirm.replace"), func(m *Model) []Effect { // the question at once; init begins to hear meanwhile
				m.pop()
				m.push(newNewcomer())
				return m.act(ask(operator.Ask{Do: operator.Look}))
			}},
		}
	}}
}

// newNewcomer asks for the code of the new machine.
func newNewcomer() view {
	return &formView{name: "newcomer", fields: []*field{text("code", "", 12), text("address", "", 64)}, intro: func(m *Model) []line { return heard(m, false) },
		do: func(m *Model, v *formView) []Effect {
			if _, err := pairing.ParseCode(v.get("code").value()); err != nil {
				v.wrong, v.at = m.fault(err), 0
				return nil
			}
			return m.act(ask(operator.Ask{Do: operator.Replace, Code: v.get("code").value(), Address: v.get("address").value()}))
		}}
}

// replaceView follows a replacement.
type replaceView struct{}

func (replaceView) title(m *Model) string { return m.t("title.replace") }
func (replaceView) key(m *Model, k screen.Key) []Effect {
	p := m.pairing()
	if k.Code != screen.Enter || p != nil && p.Act.Working {
		return nil
	}
	m.goHome()
	if p != nil && p.Act.Fault != nil && !m.snap.Pair.twin().Up {
		m.push(newReplace(m.snap.Pair.twin()))
	}
	return nil
}

func (replaceView) draw(m *Model) content {
	c := content{focus: -1}
	p := m.pairing()
	switch {
	case p == nil || p.Act.Step == pairing.StepReplaced:
		c.text(screen.Good, m.t("replace.done"))
		c.text(screen.Plain, m.t("replace.next"))
	case p.Act.Fault != nil:
		c.text(screen.Bad, m.t("replace.failed", m.fault(p.Act.Fault)))
		c.gap()
		c.text(screen.Plain, m.t(yes(p.Act.Step == pairing.StepVoting || p.Act.Step == pairing.StepTelling, "replace.goeson", "replace.again")))
	default:
		c.text(screen.Bold, m.step(p.Act))
		c.gap()
		c.text(screen.Plain, m.t("replace.wait"))
	}
	return c
}
