package console

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
)

// page is everything that the templates show, computed from a snapshot for one
// reader. Building it does no I/O.
type page struct {
	reader
	Node, Site string
	At         time.Time // of what is shown
	Old        string    // how old it is, when the node service does not answer
	Problems   []problem
	Wide       picture
	Narrow     picture
	InWords    []string // the picture
	Facts      []fact
	Spark      spark
	Store      store
	Groups     []groupRow
	VMs        []vmRow
	Events     []eventRow
	Known      bool // the node service has answered once
	Notice     string
}

// reader is who reads, and in which language.
type reader struct {
	Lang  string
	words catalogue
	who   visitor
	Path  string
}

// T says something in the reader's language.
func (r reader) T(key string, args ...any) string { return r.words.say(r.Lang, key, args...) }

// Other is the language that the switch leads to.
func (r reader) Other() string {
	if r.Lang == "fr" {
		return "en"
	}
	return "fr"
}

func (r reader) User() string   { return r.who.name }
func (r reader) Role() string   { return r.role(string(r.who.role)) }
func (r reader) Operates() bool { return r.who.operates() }

// Administers tells whether the reader may change who may do what.
func (r reader) Administers() bool { return r.who.administers() }

func (r reader) role(name string) string {
	if key := "role." + name; r.words.has(key) {
		return r.T(key)
	}
	return name
}

// mark is a state that is said by an icon, a word and a colour at once.
type mark struct{ Tone, Icon, Text string }

func good(t string) mark { return mark{"good", "ok", t} }
func warn(t string) mark { return mark{"warn", "warn", t} }
func bad(t string) mark  { return mark{"bad", "bad", t} }
func calm(t string) mark { return mark{"calm", "dot", t} }

// fact is one line of the summary.
type fact struct {
	Label  string
	Mark   mark
	Detail string
	Go     control // somewhere to go on
}

// world is a snapshot with its usual questions answered.
type world struct {
	status.Node
	r     reader
	now   time.Time
	snap  snapshot
	names map[ident.Node]status.Member
	twin  status.Member
	third status.Member // the witness
	stale bool          // the node service does not answer
}

func newWorld(s snapshot, r reader, now time.Time) *world {
	w := &world{Node: s.node, r: r, now: now, snap: s, names: map[ident.Node]status.Member{}, stale: s.fault != nil}
	for _, m := range w.Members {
		w.names[m.ID] = m
		switch {
		case m.Kind == "witness":
			w.third = m
		case m.ID != w.ID:
			w.twin = m
		}
	}
	return w
}

func (w *world) name(id ident.Node) string {
	if m := w.names[id]; m.Kind == "witness" {
		return w.r.T("witness")
	}
	return cmp.Or(w.names[id].Name, w.r.T("nobody"))
}

func (w *world) up(id ident.Node) bool { return w.names[id].Up }

// age is how old a part of the status is now.
func (w *world) age(ms int64) time.Duration {
	return time.Duration(ms)*time.Millisecond + w.now.Sub(w.snap.at)
}

func (w *world) storeOld() bool { return w.Node.Store == nil || w.age(w.Node.Store.Age) > oldAfter }

// build makes the page.
func build(s snapshot, r reader, self string, now time.Time) page {
	w := newWorld(s, r, now)
	p := page{reader: r, Node: cmp.Or(w.Name, self), Site: w.site(w.Site), At: s.at, Known: !s.at.IsZero()}
	if w.stale && p.Known {
		p.Old = r.span(now.Sub(s.at))
	}
	p.Problems = w.problems()
	if !p.Known {
		return p
	}
	p.Wide, p.Narrow, p.InWords = w.picture(wideLayout), w.picture(narrowLayout), w.inWords()
	p.Facts = []fact{w.votesFact(), w.citizenFact(), w.twinFact()}
	p.Store, p.Spark = w.store(), w.spark()
	for _, g := range w.Node.Groups {
		p.Groups = append(p.Groups, w.group(g))
	}
	for _, v := range w.AllVMs {
		p.VMs = append(p.VMs, w.vm(v))
	}
	p.Events = w.events()
	return p
}

// site words the usual names of a site; others are shown as the town wrote them.
func (w *world) site(s string) string {
	switch s {
	case "principal", "secours", "témoin":
		return w.r.T("site." + s)
	}
	return s
}

func (w *world) votesFact() fact {
	f := fact{Label: w.r.T("votes")}
	switch {
	case w.stale:
		f.Mark = mark{"old", "old", w.r.T("part.old", w.r.span(w.now.Sub(w.snap.at)))}
	case !w.Votes.Vouched:
		f.Mark, f.Detail = bad(w.r.T("votes.none")), w.r.T("votes.none.detail")
	default:
		n := 0
		for _, m := range w.Members {
			if m.Up {
				n++
			}
		}
		f.Mark = good(w.r.T("votes.lead", w.name(w.Votes.Leader)))
		if n < len(w.Members) {
			f.Mark = warn(w.r.T("votes.lead", w.name(w.Votes.Leader)))
		}
		f.Detail = w.r.T("votes.count", n, len(w.Members))
	}
	return f
}

func (w *world) citizenFact() fact {
	f := fact{Label: w.r.T("citizen")}
	if w.r.Operates() {
		f.Go = control{Href: "/agents", Label: w.r.T("agents.go")}
	}
	c := w.Citizen
	switch {
	case c == nil:
		f.Mark = mark{"old", "old", w.r.T("citizen.never")}
	case w.age(c.Age) > oldAfter:
		f.Mark = mark{"old", "old", w.r.T("part.old", w.r.span(w.age(c.Age)))}
	case c.Serving && c.Copies >= 2:
		f.Mark, f.Detail = good(w.r.T("citizen.by", w.Name)), w.r.T("citizen.two")
	case c.Serving:
		f.Mark, f.Detail = warn(w.r.T("citizen.by", w.Name)), w.r.T("citizen.one")
	case c.Proxy && w.twin.Up:
		f.Mark, f.Detail = good(w.r.T("citizen.by", w.twin.Name)), w.r.T("citizen.proxy")
	default:
		f.Mark, f.Detail = bad(w.r.T("citizen.none")), c.Cause
	}
	return f
}

func (w *world) twinFact() fact {
	f := fact{Label: w.r.T("twin", w.twin.Name)}
	switch {
	case w.stale || w.storeOld():
		f.Mark = mark{"old", "old", w.r.T("twin.unknown")}
	case !w.twin.Up:
		f.Mark, f.Detail = bad(w.r.T("twin.silent")), w.r.T("twin.silent.detail", w.Name)
	case !w.Node.Store.Linked:
		f.Mark, f.Detail = warn(w.r.T("twin.unlinked")), w.r.T("twin.unlinked.detail")
	case slices.ContainsFunc(w.Node.Groups, func(g status.Group) bool { return len(g.InSync) < 2 }):
		f.Mark, f.Detail = warn(w.r.T("twin.linked")), w.r.T("twin.behind.detail")
	default:
		f.Mark, f.Detail = good(w.r.T("twin.linked")), w.r.T("twin.linked.detail")
	}
	return f
}

// store is how full this node's disk is.
type store struct {
	Known   bool
	Percent int // used
	Text    string
	Mark    mark
	Old     string
}

func (w *world) store() store {
	s := w.Node.Store
	if s == nil || s.Capacity == 0 {
		return store{}
	}
	used := s.Capacity - s.Free
	out := store{Known: true, Percent: int(used * 100 / s.Capacity), Text: w.r.T("store.text", w.r.size(s.Free), w.r.size(s.Capacity))}
	switch {
	case s.Failed != "":
		out.Mark = bad(w.r.T("store.failed", s.Failed))
	case out.Percent >= 98:
		out.Mark = bad(w.r.T("store.full"))
	case out.Percent >= 85:
		out.Mark = warn(w.r.T("store.tight"))
	default:
		out.Mark = good(w.r.T("store.good"))
	}
	if w.storeOld() {
		out.Old = w.r.T("part.old", w.r.span(w.age(s.Age)))
	}
	return out
}

// spark is the drawing of write rates, 300 by 48.
type spark struct {
	Lines []string // points of polylines
	Now   string
	Peak  string
	Top   string
}

func (w *world) spark() spark {
	points := w.snap.rates
	peak, begin := 10.0, w.now.Add(-history)
	most := 0.0
	for _, p := range points {
		most = max(most, p.rate)
	}
	peak = max(peak, most)
	s := spark{Peak: w.r.number(most), Top: w.r.number(peak)}
	if n := len(points); n > 0 && !points[n-1].gap && w.now.Sub(points[n-1].at) < 2*oldAfter {
		s.Now = w.r.number(points[n-1].rate)
	}
	var line []string
	end := func() {
		if len(line) > 1 {
			s.Lines = append(s.Lines, strings.Join(line, " "))
		}
		line = nil
	}
	for _, p := range points {
		if p.gap {
			end()
			continue
		}
		if x := 300 * p.at.Sub(begin).Seconds() / history.Seconds(); x >= 0 {
			line = append(line, fmt.Sprintf("%.1f,%.1f", x, 46-44*p.rate/peak))
		}
	}
	end()
	return s
}

// eventRow is one line of the history, in the reader's words.
type eventRow struct {
	No   uint64
	At   time.Time
	Text string
	More string
}

// maxEvents is how many lines of the history the page shows.
const maxEvents = 40

func (w *world) events() []eventRow {
	var rows []eventRow
	for _, e := range slices.Backward(w.Node.Events) {
		if len(rows) == maxEvents {
			break
		}
		rows = append(rows, w.event(e))
	}
	return rows
}

func (w *world) event(e status.Event) eventRow {
	row := eventRow{No: e.No, At: e.Time, More: e.Cause}
	if key := "cause." + e.Cause; w.r.words.has(key) {
		row.More = w.r.T(key)
	}
	key := "event." + e.Kind
	switch {
	case !w.r.words.has(key):
		row.Text = strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.Kind, e.Group, e.VM, e.New))
	case e.Kind == "vm-run":
		row.Text = w.r.T(key+"."+cmp.Or(e.New, "false"), e.VM)
	case e.Kind == "place-vm" && e.New == "":
		row.Text = w.r.T("event.unplace-vm", e.VM, e.Old)
	case e.Kind == "set-user":
		name, role, _ := strings.Cut(e.New, ": ")
		row.Text = w.r.T(key, name, w.r.role(role))
	default:
		subject := cmp.Or(e.VM, e.Group, w.names[e.Node].Name, e.New, e.Old)
		row.Text = w.r.T(key, subject, cmp.Or(e.New, e.Old))
	}
	return row
}

// Stamp is a time as it is shown, in the time of the node.
func (r reader) Stamp(t time.Time) string {
	t = t.Local()
	if r.Lang == "en" {
		return t.Format("2 Jan, 15:04:05")
	}
	return t.Format("02/01 à 15:04:05")
}

// Day is a date, and Moment one with its time of day.
func (r reader) Day(t time.Time) string {
	if r.Lang == "en" {
		return t.Local().Format("2 Jan 2006")
	}
	return t.Local().Format("02/01/2006")
}

func (r reader) Moment(t time.Time) string {
	if r.Lang == "en" {
		return r.Day(t) + t.Local().Format(", 15:04")
	}
	return r.Day(t) + t.Local().Format(" à 15:04")
}

func (r reader) Clock(t time.Time) string { return t.Local().Format("15:04:05 MST") }
func (r reader) ISO(t time.Time) string   { return t.UTC().Format(time.RFC3339) }
