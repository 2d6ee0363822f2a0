package rescue

import (
	"fmt"
	"strings"
	"time"

	"beffroi.dev/appliance/rescue/screen"
	"beffroi.dev/pkg/host/watchdog"
)

// statusAt is the column of the values.
const statusAt = 20

// statusView is the node and the pair: one sentence first, then the facts.
type statusView struct{}

func (statusView) title(m *Model) string               { return m.t("title.status") }
func (statusView) key(m *Model, k screen.Key) []Effect { return turnPages(m, k) }

func (statusView) draw(m *Model) content {
	c := content{focus: -1}
	c.pinned = append(c.pinned, m.situation()...)
	c.pinned = append(c.pinned, rule())
	c.body = append(c.body, m.aboutNode()...)
	c.body = append(c.body, m.troubles()...)
	c.body = append(c.body, m.aboutPair()...)
	c.body = append(c.body, m.aboutMachine()...)
	c.body = append(c.body, m.aboutEvents()...)
	return c
}

// situation is what is wrong and what to do, in words and only then in colour.
func (m *Model) situation() []line {
	a := why(&m.snap)
	switch a.what {
	case "what.trial":
		a.args = []any{m.trialCause(fmt.Sprint(a.args[0]), fmt.Sprint(a.args[1]))}
	case "what.boot", "what.skipped":
		p, _ := a.args[0].(Phase)
		why := clip(p.Error, 90)
		if p.Fault != "" {
			why = m.faultOf(p)
		}
		a.args = []any{known(m.Lang, "phase.", clip(p.Name, 30)), why}
	default:
		for i := range a.args {
			if text, ok := a.args[i].(string); ok {
				a.args[i] = clip(known(m.Lang, "site.", text), 24)
			}
		}
	}
	style := [...]screen.Style{fine: screen.Good, info: screen.Bold, warning: screen.Warn, urgent: screen.Bad}[a.level]
	word := m.t([...]string{"level.fine", "level.info", "level.warning", "level.urgent"}[a.level])
	lines := labelled(nil, statusAt, "", screen.Bold, m.t(a.what, a.args...))
	lines[0] = append(line{{margin, style, word}}, lines[0]...)
	return labelled(lines, statusAt, m.t("row.do"), screen.Plain, m.t(a.do))
}

// trialCause words why a boot is not good; one of another release is shown as it came.
func (m *Model) trialCause(cause, detail string) string {
	w, ok := words["cause."+cause]
	switch {
	case !ok:
		return clip(strings.TrimSpace(cause+" "+detail), 90)
	case strings.Contains(w[0], "%s"):
		return m.t("cause."+cause, clip(detail, 60))
	}
	return m.t("cause." + cause)
}

func (m *Model) version() string {
	v := m.snap.Boot.Version
	if v == "" {
		v = m.snap.Host.ReleaseVersion
	}
	trial := ""
	if t := m.snap.Boot.Trial; t != nil {
		trial = known(m.Lang, "trial.", t.State)
	}
	return join(yes(v != "", "Beffroi "+clip(v, 24), ""), trial, yes(m.snap.Host.Kernel != "", "Linux "+clip(m.snap.Host.Kernel, 30), ""))
}

func (m *Model) aboutNode() []line {
	h, p := m.snap.Host, m.snap.Pair
	var lines []line
	if who := join(m.name(), known(m.Lang, "site.", p.Site)); who != "" {
		lines = labelled(lines, statusAt, m.t("row.node"), screen.Plain, who)
	}
	up := ""
	if h.Uptime > 0 {
		up = m.t("node.uptime", minutes(m.Lang, h.Uptime))
	}
	if what := join(m.version(), up); what != "" {
		lines = labelled(lines, statusAt, m.t("row.version"), screen.Plain, what)
	}
	return append(lines, m.ports(statusAt)...)
}

// ports are the addresses, one row a port.
func (m *Model) ports(at int) []line {
	n := m.snap.Net
	var lines []line
	if n.Err != nil {
		lines = labelled(lines, at, m.t("row.net"), screen.Warn, m.fault(n.Err))
	}
	if n.Err == nil && len(n.Ports) == 0 {
		lines = labelled(lines, at, m.t("row.net"), screen.Warn, m.t("net.noport"))
	}
	for _, p := range n.Ports {
		var all []string
		for _, a := range p.Addresses {
			all = append(all, a.String())
		}
		text, style := strings.Join(all, " "), screen.Plain
		if text == "" {
			text = m.t("net.noaddress")
		}
		if !p.Up {
			text, style = join(text, m.t("net.down")), screen.Warn
		}
		lines = labelled(lines, at, clip(known(m.Lang, "port.", p.Name), 16), style, text)
	}
	return lines
}

// troubles are the services that fail; mostly none.
func (m *Model) troubles() []line {
	var lines []line
	for i, v := range m.snap.Troubled {
		text := m.t("trouble", clip(v.Name, 20), known(m.Lang, "state.", clip(v.State, 20)), v.Failures, clip(v.Words, 100))
		lines = labelled(lines, statusAt, yes(i == 0, m.t("row.services"), ""), [...]screen.Style{screen.Warn, screen.Bad}[btoi(v.Down)], text)
	}
	return lines
}

func (m *Model) aboutPair() []line {
	p := &m.snap.Pair
	if !p.Known {
		text := m.t("pair.unknown")
		if p.Err != nil {
			text = m.t("pair.silent")
		}
		return labelled(nil, statusAt, m.t("row.pair"), screen.Warn, text)
	}
	var lines []line
	row := func(label string, good bool, text string) {
		lines = labelled(lines, statusAt, m.t(label), [...]screen.Style{screen.Warn, screen.Plain}[btoi(good)], text)
	}
	if p.Err != nil {
		row("row.pair", false, m.t("pair.old"))
	}
	twin, witness := p.twin(), p.witness()
	linked := p.Store != nil && p.Store.Linked && p.Store.Age <= oldStore
	row("row.twin", twin.Up && linked, join(twin.Name, known(m.Lang, "site.", twin.Site), m.t(yes(twin.Up, "up", "silent")), m.t(yes(linked, "data.linked", "data.unlinked"))))
	row("row.witness", witness.Up, m.t(yes(witness.Up, "up", "silent")))
	for _, l := range p.Links {
		if !l.Up {
			row("row.link", false, m.t("link.down", clip(known(m.Lang, "port.", l.Path), 20), clip(l.Peer, 20)))
		}
	}
	up := 0
	for _, v := range p.Members {
		up += btoi(v.Up)
	}
	votes := m.t("votes.none")
	if p.Vouched {
		votes = m.t("votes.yes")
	}
	row("row.votes", p.Vouched, join(m.t("votes.count", up, len(p.Members)), votes))
	for i, g := range p.Groups {
		text, good := m.mirror(g)
		row(yes(i == 0, "row.mirror", ""), good, clip(g.Name, 20)+yes(m.Lang == French, "\u00a0: ", ": ")+text)
	}
	for i, v := range p.VMs {
		text, good := m.machine(v)
		row(yes(i == 0, "row.vms", ""), good, clip(v.Name, 20)+yes(m.Lang == French, "\u00a0: ", ": ")+text)
	}
	text, good := m.citizen()
	row("row.citizen", good, text)
	return lines
}

// mirror words the state of a group's copies.
func (m *Model) mirror(g Group) (string, bool) {
	switch {
	case len(g.InSync) >= 2:
		return m.t("mirror.sync"), true
	case g.Resync != nil && g.Resync.Left >= 0:
		return m.t("mirror.resync.end", percent(m.Lang, g.Resync.Percent), m.clock(m.now.Add(g.Resync.Left)), minutes(m.Lang, g.Resync.Left)), false
	case g.Resync != nil:
		return m.t("mirror.resync", percent(m.Lang, g.Resync.Percent)), false
	case len(g.InSync) == 1:
		return m.t("mirror.solo", clip(g.InSync[0], 20)), false
	}
	return m.t("mirror.unknown"), false
}

func (m *Model) machine(v VM) (string, bool) {
	where := m.t("vm.on", clip(v.Node, 20))
	switch {
	case !v.Run && (v.State == "" || v.State == "stopped"):
		return m.t("vm.off"), true
	case v.State == "" && v.Node != m.snap.Pair.Self:
		return join(m.t("vm.placed"), where), true
	case v.State == "":
		return join(m.t("vm.state.unknown"), where), false
	}
	return join(known(m.Lang, "vm.state.", clip(v.State, 20)), where, clip(v.Cause, 60)), v.State == "running"
}

func (m *Model) citizen() (string, bool) {
	c := m.snap.Pair.Citizen
	address := ""
	if s := m.snap.Net.Service; s != "" {
		address = clip(s, 45)
	}
	switch {
	case !c.Known:
		return join(m.t("citizen.unknown"), address), false
	case c.By == "":
		return join(m.t("citizen.nobody"), address, clip(c.Cause, 60)), false
	case c.Copies == 1:
		return join(m.t("citizen.by", clip(c.By, 20)), m.t("citizen.one"), address), false
	}
	return join(m.t("citizen.by", clip(c.By, 20)), address), true
}

func (m *Model) aboutMachine() []line {
	h, w := m.snap.Host, m.snap.Watchdog
	var lines []line
	free := func(label string, part, whole int64) {
		if whole > 0 {
			style := [...]screen.Style{screen.Plain, screen.Warn}[btoi(part < whole/20)]
			used := percent(m.Lang, int(100-100*part/whole))
			lines = labelled(lines, statusAt, m.t(label), style, m.t("use", size(m.Lang, part), size(m.Lang, whole), used))
		}
	}
	if s := m.snap.Pair.Store; s != nil && s.Failed != "" {
		lines = labelled(lines, statusAt, m.t("row.store"), screen.Bad, m.t("store.failed", clip(s.Failed, 90)))
	} else if s != nil {
		free("row.store", s.Free, s.Capacity)
	}
	free("row.state", h.StateFree, h.StateBytes)
	free("row.memory", h.MemoryFree, h.MemoryBytes)
	switch {
	case !w.Known:
		lines = labelled(lines, statusAt, m.t("row.watchdog"), screen.Plain, m.t("watchdog.unknown"))
	case w.Armed && watchdog.Software(w.Driver):
		lines = labelled(lines, statusAt, m.t("row.watchdog"), screen.Warn, join(m.t("watchdog.software"), yes(w.Timeout > 0, span(m.Lang, w.Timeout), "")))
	case w.Armed:
		lines = labelled(lines, statusAt, m.t("row.watchdog"), screen.Plain, join(m.t("watchdog.armed"), clip(w.Driver, 20), yes(w.Timeout > 0, span(m.Lang, w.Timeout), "")))
	default:
		lines = labelled(lines, statusAt, m.t("row.watchdog"), screen.Warn, m.t("watchdog.none"))
	}
	if h.Err != nil {
		lines = labelled(lines, statusAt, m.t("row.host"), screen.Warn, m.fault(h.Err))
	}
	return lines
}

// maxEvents is how many events are shown: two pages are enough at night.
const maxEvents = 12

func (m *Model) aboutEvents() []line {
	all := m.snap.Pair.Events
	var lines []line
	for i := len(all) - 1; i >= max(0, len(all)-maxEvents); i-- { // newest first
		e := all[i]
		text := clip(e.Kind, 30)
		if _, ok := words["event."+e.Kind]; ok {
			text = m.t("event."+e.Kind, clip(e.Object, 24), clip(e.New, 24))
		}
		if e.Text != "" {
			text += yes(m.Lang == French, "\u00a0: ", ": ") + clip(known(m.Lang, "cause.", e.Text), 80)
		}
		label := yes(i == len(all)-1, m.t("row.events"), "")
		lines = labelled(lines, statusAt, label, screen.Plain, m.clock(e.At)+"  "+text)
	}
	return lines
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// farewellView stays until the machine is gone.
type farewellView struct{ deed Deed }

func (v *farewellView) title(m *Model) string         { return m.t("deed." + string(v.deed)) }
func (*farewellView) key(*Model, screen.Key) []Effect { return nil }
func (v *farewellView) draw(m *Model) content {
	c := content{focus: -1}
	c.text(screen.Bold, m.t("farewell."+string(v.deed)))
	return c
}

// bounded so that a page of a log is never asked for more than can be read.
const (
	logLines  = 400
	logEvery  = 2 * time.Second
	maxLogRow = 4096
)
