package rescue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"beffroi.dev/appliance/rescue/screen"
)

// Rows of the screen: the title above, news and the bottom line below.
const (
	bodyTop   = 2
	newsRow   = screen.Height - 2
	bottomRow = screen.Height - 1
	bodyRows  = newsRow - bodyTop
	// margin is left free on both sides; textWidth lies between.
	margin    = 2
	textWidth = screen.Width - 2*margin
)

// span and line are placed text.
type placed struct {
	x     int
	style screen.Style
	text  string
}

type line []placed

// content is what a view shows: pinned lines on every page, body lines in pages.
type content struct {
	pinned, body []line
	focus        int // body line that must be seen; -1: the page that was chosen
	keys         string
	cursor       bool // after the last text of the focused line
}

// text adds wrapped text at the margin.
func (c *content) text(s screen.Style, text string) {
	for _, l := range screen.Wrap(text, textWidth) {
		c.body = append(c.body, line{{margin, s, l}})
	}
}

// gap adds a blank line.
func (c *content) gap() { c.body = append(c.body, nil) }

// labelled adds a label and wrapped text beside it.
func labelled(lines []line, at int, label string, s screen.Style, text string) []line {
	for i, l := range screen.Wrap(text, screen.Width-margin-at) {
		row := line{{at, s, l}}
		if i == 0 && label != "" {
			row = append(line{{margin, screen.Dim, label}}, row...)
		}
		lines = append(lines, row)
	}
	return lines
}

// View draws the screen.
func (m *Model) View() *screen.Buffer {
	b := screen.New()
	v := m.top()
	c := v.draw(m)
	m.header(b, v.title(m))
	y := bodyTop
	for _, l := range c.pinned {
		put(b, y, l)
		y++
	}
	room := max(newsRow-y, 1)
	first := m.turn(&c, room)
	for i := first; i < min(first+room, len(c.body)); i++ {
		put(b, y, c.body[i])
		if c.cursor && i == c.focus && len(c.body[i]) > 0 {
			last := c.body[i][len(c.body[i])-1]
			b.Cursor(last.x+screen.Columns(last.text), y)
		}
		y++
	}
	m.news(b)
	m.bottom(b, c.keys)
	return b
}

// turn finds the first body line of the page that is shown.
func (m *Model) turn(c *content, room int) int {
	m.pages = (len(c.body) + room - 1) / room
	if c.focus >= 0 {
		m.page = c.focus / room
	}
	m.page = max(min(m.page, m.pages-1), 0)
	return m.page * room
}

func put(b *screen.Buffer, y int, l line) {
	for _, p := range l {
		b.Put(p.x, y, p.style, p.text)
	}
}

// header is the title line: who, where, what, when.
func (m *Model) header(b *screen.Buffer, title string) {
	b.Fill(0, 0, screen.Width, screen.Bar, ' ')
	who := "BEFFROI"
	if name := m.name(); name != "" {
		who += " · " + clip(name, 16)
	}
	if site := known(m.Lang, "site.", m.snap.Pair.Site); site != "" {
		who += " · " + clip(site, 20)
	}
	b.Put(1, 0, screen.Bar, who)
	clock := m.now.In(m.zone).Format("15:04:05")
	at := screen.Width - 1 - len(clock)
	b.Put(at, 0, screen.Bar, clock)
	b.Put(at-3-screen.Columns(title), 0, screen.Bar, title)
}

func (m *Model) name() string {
	if m.snap.Pair.Self != "" {
		return m.snap.Pair.Self
	}
	return m.snap.Host.Name
}

// clip shortens a foreign name to n cells.
func clip(text string, n int) string {
	if r := []rune(screen.Clean(text)); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}

// news is the line above the last: what runs, what came of it, how old all this is.
func (m *Model) news(b *screen.Buffer) {
	style, text := screen.Plain, ""
	age := m.now.Sub(m.snap.At)
	switch {
	case m.busy != "":
		style, text = screen.Bold, m.t("notice.running", m.t("deed."+string(m.busy)), span(m.Lang, m.now.Sub(m.busyAt)))
		if len(m.ahead) > 0 {
			text += m.t("notice.ahead", len(m.ahead))
		}
	case m.notice != "" && m.alarm:
		style, text = screen.Bad, m.t(m.notice, m.args...)
	case m.notice != "":
		style, text = screen.Good, m.t(m.notice, m.args...)
	case m.seen && age > staleAfter:
		style, text = screen.Warn, m.t("notice.stale", span(m.Lang, age))
	}
	lines := screen.Wrap(text, textWidth)
	for i, l := range lines[:min(len(lines), 3)] { // grows upward over the body
		y := newsRow - min(len(lines), 3) + 1 + i
		if text != "" {
			b.Fill(0, y, screen.Width, screen.Plain, ' ')
		}
		b.Put(margin, y, style, l)
	}
}

// bottom always says how to reach the menu and the other language.
func (m *Model) bottom(b *screen.Buffer, keys string) {
	b.Fill(0, bottomRow, screen.Width-1, screen.Bar, ' ')
	_, typing := m.top().(interface{ typing() })
	text := m.t("bottom.menu")
	if typing {
		text = m.t("bottom.menu.typing")
	}
	if len(m.views) > 0 {
		text += "  " + m.t("bottom.back")
	}
	if keys != "" {
		text += "  " + m.t(keys)
	}
	end := b.Put(1, bottomRow, screen.Bar, text)
	if m.pages > 1 {
		p := m.t("bottom.page", m.page+1, m.pages)
		if end+2+screen.Columns(p) > screen.Width-2 { // the list already says how to move
			p = fmt.Sprintf("%d/%d", m.page+1, m.pages)
		}
		b.Put(screen.Width-2-screen.Columns(p), bottomRow, screen.Bar, p)
	}
}

// fault words an error that came from elsewhere.
func (m *Model) fault(err error) string {
	if text, ok := m.reasonOf(err); ok {
		return text
	}
	switch {
	case errors.Is(err, ErrUnavailable):
		return m.t("fault.unavailable")
	case errors.Is(err, ErrNoPassword):
		return m.t(m.noPassword())
	case errors.Is(err, ErrNotRunning):
		return m.t("fault.notrunning")
	case errors.Is(err, errShellEnded):
		return m.t("fault.shellended", clip(err.Error(), 80))
	}
	return clip(err.Error(), 120)
}

// noPassword is why there is no password to ask for: it lies on the state partition, and
// a founding gives it.
func (m *Model) noPassword() string {
	s := &m.snap
	if slices.ContainsFunc(s.Boot.Phases, func(p Phase) bool { return p.Name == "state" && p.State != "done" }) {
		return "fault.nostate"
	}
	if s.Pairing.Known && !s.Pairing.Paired {
		return "fault.notfounded"
	}
	return "fault.nopassword"
}

// clock is a time of day; with the date when it is not today.
func (m *Model) clock(at time.Time) string {
	at = at.In(m.zone)
	if y, d := at.Year(), at.YearDay(); y == m.now.In(m.zone).Year() && d == m.now.In(m.zone).YearDay() {
		return at.Format("15:04")
	}
	return at.Format("02/01 15:04")
}

func yes(ok bool, a, b string) string {
	if ok {
		return a
	}
	return b
}

func join(parts ...string) string {
	out := parts[:0:0]
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, " · ")
}

func percent(l Lang, n int) string {
	if l == French {
		return fmt.Sprintf("%d\u00a0%%", n)
	}
	return fmt.Sprintf("%d%%", n)
}
