package rescue

import (
	"strings"
	"time"

	"beffroi.dev/appliance/rescue/screen"
)

// logView shows the end of a log, and follows it until a page is turned back.
type logView struct {
	service string
	lines   []string
	err     error
	asked   time.Time
	waiting bool
	back    int // rows between the last one and the last one shown
	rows    int
}

func openLog(m *Model, service string) []Effect {
	v := &logView{service: service}
	m.push(v)
	return v.ask(m)
}

func (*logView) pager()                  {}
func (v *logView) title(m *Model) string { return m.t("title.log", clip(v.service, 20)) }

func (v *logView) ask(m *Model) []Effect {
	v.asked, v.waiting = m.now, true
	return []Effect{{Do: TailLog, Name: v.service}}
}

func (v *logView) tick(m *Model) []Effect {
	if v.back > 0 || v.waiting || m.now.Sub(v.asked) < logEvery {
		return nil
	}
	return v.ask(m)
}

func (v *logView) take(r Result) {
	v.waiting, v.err = false, r.Err
	if r.Err == nil {
		v.lines = r.Lines
	}
}

func (v *logView) key(_ *Model, k screen.Key) []Effect {
	const page = bodyRows - 2
	switch {
	case k.Code == screen.Up:
		v.back++
	case k.Code == screen.PageUp:
		v.back += page
	case k.Code == screen.Home:
		v.back = v.rows
	case k.Code == screen.Down:
		v.back--
	case k.Code == screen.PageDown, k.Code == screen.Char && k.Rune == ' ':
		v.back -= page
	case k.Code == screen.End, k.Rune == 'f':
		v.back = 0
	}
	v.back = max(0, min(v.back, v.rows-page))
	return nil
}

func (v *logView) draw(m *Model) content {
	c := content{focus: -1, keys: "bottom.log"}
	switch {
	case v.err != nil:
		c.pinned = paragraph(screen.Warn, m.t("log.failed", m.fault(v.err)))[:1]
	case v.back > 0:
		c.pinned = []line{{{margin, screen.Warn, m.t("log.held")}}}
	default:
		c.pinned = []line{{{margin, screen.Good, m.t("log.follows")}}}
	}
	if len(v.lines) == 0 {
		c.text(screen.Plain, m.t(yes(v.waiting, "wait.text", "log.empty")))
		return c
	}
	var rows []line
	for _, l := range v.lines {
		for i, part := range screen.Wrap(readable(l, m.zone), screen.Width-4) {
			rows = append(rows, line{{1 + 2*min(i, 1), screen.Plain, part}})
		}
	}
	v.rows = len(rows)
	end := max(len(rows)-v.back, 0)
	c.body = rows[max(0, end-bodyRows+1):end]
	return c
}

// readable is a line of a service's log with what the eye needs first: the time of
// day, the level and the message. Anything else stays as it is.
func readable(l string, zone *time.Location) string {
	l = l[:min(len(l), maxLogRow)]
	rest, ok := strings.CutPrefix(l, "time=")
	if !ok {
		return l
	}
	stamp, rest, _ := strings.Cut(rest, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return l
	}
	rest = strings.TrimPrefix(rest, "level=")
	level, rest, _ := strings.Cut(rest, " ")
	rest = strings.TrimPrefix(rest, "msg=")
	return at.In(zone).Format("15:04:05") + " " + level + " " + rest
}
