package rescue

import (
	"fmt"
	"slices"
	"strings"

	"beffroi.dev/appliance/rescue/screen"
)

// homeView is what the console shows by itself: the boot while it runs, the
// first-boot screen of a node without a pair, else the status.
type homeView struct{}

func (h *homeView) inner(m *Model) view {
	switch {
	case !m.seen:
		return waitView{}
	case m.snap.Pairing.Known && !m.snap.Pairing.Paired && !early(m):
		return firstView{}
	case m.pairing() != nil && m.pairing().Secrets != nil && m.snap.Pairing.Paired:
		return secretsView{}
	case booting(m.snap.Boot):
		return bootView{}
	}
	return statusView{}
}

func (h *homeView) title(m *Model) string               { return h.inner(m).title(m) }
func (h *homeView) draw(m *Model) content               { return h.inner(m).draw(m) }
func (h *homeView) key(m *Model, k screen.Key) []Effect { return h.inner(m).key(m, k) }

// booting is true until every phase has ended, one way or the other.
func booting(b Boot) bool {
	return slices.ContainsFunc(b.Phases, func(p Phase) bool { return p.State == "running" || p.State == "waiting" })
}

// early is true before the boot has looked for a configuration: without one it goes
// no further, and what to do about it is on the first-boot screen.
func early(m *Model) bool {
	i := slices.IndexFunc(m.snap.Boot.Phases, func(p Phase) bool { return p.Name == "identity" })
	if i >= 0 {
		// A seed that is refused, or a lan without a card, is no missing configuration:
		// the table says why.
		if p := m.snap.Boot.Phases[i]; p.State == "failed" && p.Error != "" {
			return true
		}
	}
	switch {
	case m.pairing() != nil:
		return false
	case i >= 0:
		p := m.snap.Boot.Phases[i]
		return p.State == "waiting" || p.State == "running" && p.Error == ""
	}
	return booting(m.snap.Boot)
}

// turnPages is what arrow keys do on a view that only shows.
func turnPages(m *Model, k screen.Key) []Effect {
	switch k.Code {
	case screen.Down, screen.Right:
		m.page++ // View bounds it
	case screen.Up, screen.Left:
		m.page = max(m.page-1, 0)
	case screen.Home:
		m.page = 0
	case screen.End:
		m.page = max(m.pages-1, 0)
	case screen.Enter:
		m.push(newMenu())
	}
	return nil
}

// waitView is shown before anything is known.
type waitView struct{}

func (waitView) title(m *Model) string               { return m.t("title.status") }
func (waitView) key(m *Model, k screen.Key) []Effect { return turnPages(m, k) }
func (waitView) draw(m *Model) content {
	c := content{focus: -1}
	c.text(screen.Plain, m.t("wait.text"))
	return c
}

// bootView is the table of phases.
type bootView struct{}

func (bootView) title(m *Model) string               { return m.t("title.boot") }
func (bootView) key(m *Model, k screen.Key) []Effect { return turnPages(m, k) }

// Columns of the table.
const (
	bootState  = 38
	bootTime   = 56
	bootIndent = 6
)

func (bootView) draw(m *Model) content {
	b := m.snap.Boot
	c := content{focus: -1}
	if len(b.Phases) == 0 {
		c.text(screen.Plain, m.t("boot.nothing"))
		if b.Err != nil {
			c.gap()
			c.text(screen.Warn, b.Err.Error())
		}
		return c
	}
	c.pinned = append(c.pinned,
		line{{margin, screen.Dim, m.t("boot.phase")}, {bootState, screen.Dim, m.t("boot.state")}, {bootTime, screen.Dim, m.t("boot.time")}},
		rule())
	total := 0.0
	for i, p := range b.Phases {
		total += p.Seconds
		row := line{{margin, screen.Plain, fmt.Sprintf("%2d  %s", i+1, clip(known(m.Lang, "phase.", p.Name), 30))}}
		row = append(row, placed{bootState, phaseStyle(p.State), known(m.Lang, "phase.state.", p.State)})
		if p.State != "waiting" {
			row = append(row, placed{bootTime, screen.Plain, m.seconds(p.Seconds)})
		}
		c.body = append(c.body, row)
		c.body = append(c.body, m.failure(p)...)
		if t := b.Trial; p.State == "failed" && t != nil && t.Back {
			c.body = append(c.body, labelled(nil, bootIndent, "", screen.Bold, m.t("trial.back"))...)
		}
		if p.State == "running" && p.Error == "" {
			c.focus = len(c.body) - 1
		}
	}
	if !booting(b) {
		c.body = append(c.body, nil, line{{margin + 4, screen.Bold, m.t("boot.total")}, {bootTime, screen.Bold, m.seconds(total)}})
	}
	if m.page > 0 || len(c.body) <= bodyRows-2 {
		c.focus = -1 // nothing to follow, or the reader turned the page
	}
	return c
}

// maxDetail is how many lines of an error are shown below the words for it.
const maxDetail = 3

// failure is what a phase says of its error: what it means and what to do, if the fault
// is known, and the error as it came.
func (m *Model) failure(p Phase) (rows []line) {
	if p.Error == "" {
		return nil
	}
	add := func(style screen.Style, text string, most int) {
		lines := screen.Wrap(text, screen.Width-margin-bootIndent)
		if len(lines) > most {
			lines = append(lines[:most-1], clip(lines[most-1]+" ...", screen.Width-margin-bootIndent))
		}
		for _, l := range lines {
			rows = append(rows, line{{bootIndent, style, l}})
		}
	}
	if _, ok := words["fault."+p.Fault]; !ok || p.Fault == "" {
		add(screen.Bad, p.Error, bodyRows)
		return rows
	}
	add(screen.Bad, m.faultOf(p)+" "+m.t("do.fault."+p.Fault), bodyRows)
	add(screen.Dim, m.t("boot.detail", p.Error), maxDetail)
	return rows
}

// faultOf words what a phase failed on; of the network with the ports that it is about.
func (m *Model) faultOf(p Phase) string {
	text := known(m.Lang, "fault.", p.Fault)
	if len(p.Roles) == 0 {
		return text
	}
	var ports []string
	for _, r := range p.Roles[:min(len(p.Roles), maxPorts)] {
		ports = append(ports, known(m.Lang, "port.", clip(r, 16)))
	}
	return m.t("card.at", strings.TrimSuffix(text, "."), strings.Join(ports, ", ")+".")
}

func rule() line { return line{{margin, screen.Dim, strings.Repeat("─", textWidth)}} }

func (m *Model) seconds(s float64) string {
	text := fmt.Sprintf("%8.2f\u00a0s", s)
	if m.Lang == French {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text
}

func phaseStyle(state string) screen.Style {
	switch state {
	case "done":
		return screen.Good
	case "failed", "skipped":
		return screen.Bad
	case "running":
		return screen.Bold
	}
	return screen.Plain
}
