package rescue

import (
	"fmt"
	"strings"
	"time"

	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/appliance/rescue/screen"
)

// entry is one line to choose.
type entry struct {
	label string
	do    func(m *Model) []Effect
}

// listView is a list to choose from; every list of the console is one.
type listView struct {
	name    string // title.NAME of the table
	intro   func(m *Model) []line
	entries func(m *Model) []entry
	chosen  int
}

func (v *listView) title(m *Model) string { return m.t("title." + v.name) }

func (v *listView) key(m *Model, k screen.Key) []Effect {
	all := v.entries(m)
	last := len(all) - 1
	if last < 0 {
		return nil
	}
	v.chosen = min(v.chosen, last)
	switch {
	case k.Code == screen.Up:
		v.chosen = (v.chosen + last) % (last + 1)
	case k.Code == screen.Down, k.Code == screen.Tab:
		v.chosen = (v.chosen + 1) % (last + 1)
	case k.Code == screen.Home:
		v.chosen = 0
	case k.Code == screen.End:
		v.chosen = last
	case k.Code == screen.Enter:
		return all[v.chosen].do(m)
	case k.Code == screen.Char && k.Rune >= '1' && int(k.Rune-'1') <= last:
		v.chosen = int(k.Rune - '1') // chosen, not done: a digit is easily hit
	}
	return nil
}

func (v *listView) draw(m *Model) content {
	all := v.entries(m)
	c := content{keys: "bottom.choose", focus: -1}
	if v.intro != nil {
		c.pinned = append(v.intro(m), nil)
	}
	for i, e := range all {
		number := "   "
		if i < 9 {
			number = fmt.Sprintf("%d. ", i+1)
		}
		text, style := "  "+number+clip(e.label, 50), screen.Plain
		if i == min(v.chosen, len(all)-1) {
			text, style, c.focus = "> "+number+clip(e.label, 50)+" ", screen.Bar, i
		}
		c.body = append(c.body, line{{margin, style, text}})
	}
	if len(all) == 0 {
		c.text(screen.Plain, m.t("list.empty"))
	}
	return c
}

// paragraph is wrapped text as lines.
func paragraph(s screen.Style, text string) []line { return labelled(nil, margin, "", s, text) }

func newMenu() view {
	open := func(v func() view) func(*Model) []Effect {
		return func(m *Model) []Effect { m.push(v()); return nil }
	}
	return &listView{name: "menu", entries: func(m *Model) []entry {
		var all []entry
		if p := m.pairing(); p != nil && !m.snap.Pairing.Paired {
			if p.Kept != "" {
				all = append(all, entry{m.t("menu.forget"), open(newForget)})
			} else {
				all = append(all, entry{m.t("menu.found"), founding})
			}
			if p.Taken != nil || p.Act.Fault != nil && p.Act.Fault.Reason == pairing.SameIdentity {
				all = append(all, entry{m.t("menu.erase"), open(newErase)})
			}
			if p.Act.Request != nil {
				all = append(all, entry{m.t("menu.cancel"), func(m *Model) []Effect { return m.act(ask(operator.Ask{Do: operator.Cancel})) }})
			}
		}
		all = append(all, []entry{
			{m.t("menu.network"), open(func() view { return networkView{} })},
			{m.t("menu.logs"), open(func() view { return newServices("logs", openLog) })},
			{m.t("menu.restart"), open(func() view { return newServices("restart", askRestart) })},
		}...)
		if m.can.Power {
			all = append(all, entry{m.t("menu.reboot"), open(func() view { return newFarewell(Reboot) })},
				entry{m.t("menu.poweroff"), open(func() view { return newFarewell(PowerOff) })})
		}
		if m.can.Shell {
			all = append(all, entry{m.t("menu.shell"), open(func() view { return &passwordView{} })})
		}
		if m.mayReplace() {
			all = append(all, entry{m.t("menu.replace"), replacing})
		}
		return append(all, entry{m.t("menu.boot"), open(func() view { return bootView{} })},
			entry{m.t("menu.language"), open(newLanguage)})
	}}
}

func newLanguage() view {
	set := func(l Lang) func(*Model) []Effect {
		return func(m *Model) []Effect { m.Lang = l; m.pop(); return nil }
	}
	return &listView{name: "language", entries: func(m *Model) []entry {
		return []entry{{"Français", set(French)}, {"English", set(English)},
			{m.t(yes(m.ASCII, "language.utf8", "language.ascii")), func(m *Model) []Effect {
				m.ASCII = !m.ASCII
				return []Effect{{Do: Redraw}}
			}}}
	}}
}

// newServices lists the services for something to be done with one.
func newServices(name string, do func(m *Model, service string) []Effect) view {
	return &listView{name: name, entries: func(m *Model) []entry {
		var all []entry
		names := m.snap.Services
		if name == "logs" {
			names = m.snap.Logs
		}
		for _, s := range names {
			label := s
			if _, ok := words["service."+s]; ok {
				label = s + " – " + m.t("service."+s)
			}
			all = append(all, entry{label, func(m *Model) []Effect { return do(m, s) }})
		}
		return all
	}}
}

// newConfirm asks before e, with the harmless answer chosen.
func newConfirm(name, yes string, intro func(m *Model) []line, e Effect) view {
	return &listView{name: name, intro: intro, entries: func(m *Model) []entry {
		return []entry{
			{m.t("confirm.no"), func(m *Model) []Effect { m.pop(); return nil }},
			{m.t(yes), func(m *Model) []Effect { m.pop(); return m.act(e) }},
		}
	}}
}

func newFarewell(d Deed) view {
	return newConfirm(string(d), "confirm."+string(d), func(m *Model) []line {
		key, args := relief(&m.snap)
		for i := range args {
			args[i] = clip(fmt.Sprint(args[i]), 24)
		}
		lines := append(paragraph(screen.Bold, m.t("means."+string(d))), nil)
		style := screen.Warn
		if key == "relief.twin" || key == "relief.unpaired" {
			style = screen.Plain
		}
		lines = append(lines, paragraph(style, m.t(key, args...))...)
		if here := running(&m.snap.Pair); here > 0 {
			lines = append(lines, paragraph(screen.Plain, m.t("means.vms", here))...)
		}
		return lines
	}, Effect{Do: d})
}

func running(p *Pair) (n int) {
	for _, v := range p.VMs {
		n += btoi(v.State == "running" && v.Node == p.Self)
	}
	return n
}

func askRestart(m *Model, service string) []Effect {
	m.push(newConfirm("restart", "confirm.restart", func(m *Model) []line {
		key := "means.restart." + service
		if _, ok := words[key]; !ok {
			key = "means.restart"
		}
		return append(paragraph(screen.Bold, m.t("restart.which", clip(service, 30))), append([]line{nil}, paragraph(screen.Plain, m.t(key))...)...)
	}, Effect{Do: RestartService, Name: service}))
	return nil
}

// attempts counts wrong passwords; it outlives the view, so that leaving it does
// not shorten the wait.
type attempts struct {
	wrong int
	until time.Time
}

// Bounds of the password: its length, and the pause after wrong ones.
const (
	maxPassword = 128
	maxPause    = 60 * time.Second
)

type passwordView struct{ typed []rune }

func (*passwordView) typing()               {}
func (*passwordView) title(m *Model) string { return m.t("title.shell") }

func (v *passwordView) key(m *Model, k screen.Key) []Effect {
	if m.now.Before(m.secrets.until) || m.snap.NoShell != nil {
		return nil
	}
	switch {
	case k.Code == screen.Enter && len(v.typed) > 0:
		effects := m.act(Effect{Do: CheckPassword, Password: string(v.typed)})
		if len(effects) > 0 { // otherwise something else runs: what was typed waits
			v.typed = nil
		}
		return effects
	case k.Code == screen.Backspace && len(v.typed) > 0:
		v.typed = v.typed[:len(v.typed)-1]
	case k.Code == screen.Char && len(v.typed) < maxPassword:
		v.typed = append(v.typed, k.Rune)
	}
	return nil
}

func (v *passwordView) draw(m *Model) content {
	c := content{focus: -1}
	if m.snap.NoShell != nil {
		c.text(screen.Warn, m.t("shell.refused", m.fault(m.snap.NoShell)))
		return c
	}
	c.text(screen.Plain, m.t("shell.intro"))
	c.gap()
	if left := m.secrets.until.Sub(m.now); left > 0 {
		c.text(screen.Warn, m.t("shell.wait", span(m.Lang, left)))
	} else {
		c.focus, c.cursor = len(c.body), true
		c.body = append(c.body, line{{margin, screen.Dim, m.t("shell.password")}, {statusAt, screen.Plain, strings.Repeat("*", min(len(v.typed), 40))}})
	}
	if m.secrets.wrong > 0 {
		c.gap()
		c.text(screen.Warn, m.t("shell.wrong", m.secrets.wrong))
	}
	return c
}

// checked takes the answer about a password.
func (m *Model) checked(r Result) []Effect {
	switch _, asked := m.top().(*passwordView); {
	case r.Err != nil:
		m.tell(true, "notice.failed", m.t("deed.password"), m.fault(r.Err))
	case !r.Right:
		m.secrets.wrong++
		m.secrets.until = m.now.Add(min(time.Second<<min(m.secrets.wrong, 6), maxPause))
	case asked: // whoever went away does not want a shell any more
		m.secrets.wrong, m.shell = 0, true
		return m.act(Effect{Do: OpenShell})
	}
	return nil
}
