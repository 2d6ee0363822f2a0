package console

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
)

// picture is the pair as it is drawn: boxes and wires with their places.
type picture struct {
	Name          string
	Width, Height int
	Boxes         []box
	Wires         []wire
}

// box is a machine.
type box struct {
	X, Y, W, H int
	Tone       string
	Title      string
	Lines      []boxLine
}

// boxLine is one thing that a machine does, at its place.
type boxLine struct {
	X, Y int
	Tone string
	Icon string
	Text string
}

// wire is a link between two machines.
type wire struct {
	Points string
	X, Y   int // of its label's middle
	Tone   string
	Data   bool
	Label  string
	State  string
	Third  string // that it carries the data
}

// place is a rectangle, or the line and label of a wire.
type place struct{ x, y, w, h int }

type route struct {
	points string
	x, y   int
}

// layout is where everything stands. Wires are named path and ends: "ab" between
// the nodes, "aw" and "bw" to the witness.
type layout struct {
	name          string
	width, height int
	a, b, w       place
	wires         map[string]route
}

var wideLayout = layout{
	name: "wide", width: 780, height: 342, a: place{8, 8, 262, 168}, b: place{510, 8, 262, 168}, w: place{290, 232, 200, 104},
	wires: map[string]route{
		"fibre1 ab": {"270,46 510,46", 390, 46}, "fibre2 ab": {"270,96 510,96", 390, 96}, "lan ab": {"270,146 510,146", 390, 146},
		"lan aw": {"139,176 139,273 290,273", 205, 273}, "lan bw": {"641,176 641,273 490,273", 575, 273},
	},
}

var narrowLayout = layout{
	name: "narrow", width: 340, height: 548, a: place{26, 4, 306, 150}, b: place{26, 230, 306, 150}, w: place{62, 438, 270, 104},
	wires: map[string]route{
		"fibre1 ab": {"74,154 74,230", 74, 192}, "fibre2 ab": {"181,154 181,230", 181, 192}, "lan ab": {"288,154 288,230", 288, 192},
		"lan aw": {"26,70 10,70 10,480 62,480", 70, 409}, "lan bw": {"220,380 220,438", 220, 409},
	},
}

func (w *world) picture(l layout) picture {
	p := picture{Name: l.name, Width: l.width, Height: l.height}
	first, second := w.pair()
	p.Boxes = []box{w.box(first, l.a), w.box(second, l.b), w.box(w.third, l.w)}
	for _, path := range []string{"fibre1", "fibre2", "lan"} {
		p.Wires = append(p.Wires, w.wire(path, first.ID, second.ID, l.wires[path+" ab"]))
	}
	p.Wires = append(p.Wires, w.wire("lan", first.ID, w.third.ID, l.wires["lan aw"]), w.wire("lan", second.ID, w.third.ID, l.wires["lan bw"]))
	return p
}

// pair is both nodes in the order that all readers see, whichever they look from.
func (w *world) pair() (first, second status.Member) {
	me := w.names[w.ID]
	if w.twin.Name < me.Name {
		return w.twin, me
	}
	return me, w.twin
}

func (w *world) box(m status.Member, at place) box {
	b := box{X: at.x, Y: at.y, W: at.w, H: at.h, Title: w.site(m.Site) + " · " + m.Name, Tone: "good"}
	add := func(k mark) {
		b.Lines = append(b.Lines, boxLine{X: at.x + 16, Y: at.y + 62 + 24*len(b.Lines), Tone: k.Tone, Icon: k.Icon, Text: k.Text})
	}
	if m.Kind == "witness" {
		b.Title = w.r.T("site.témoin")
	}
	switch {
	case m.ID == w.ID:
		add(mark{"role", "pin", w.r.T("here")})
		if w.stale {
			b.Tone = "old"
		}
	case w.stale:
		b.Tone = "old"
		add(mark{"old", "old", w.r.T("box.unknown")})
	case !m.Up:
		b.Tone = "bad"
		add(bad(w.r.T("box.silent")))
	default:
		add(good(w.r.T("box.up")))
	}
	if w.stale {
		return b
	}
	if w.Votes.Vouched && w.Votes.Leader == m.ID {
		add(mark{"role", "vote", w.r.T("box.leads")})
	} else if m.ID == w.ID && !w.Votes.Vouched {
		b.Tone = "bad"
		add(bad(w.r.T("box.novotes")))
	}
	if m.Kind == "witness" {
		return b
	}
	if w.serves(m.ID) {
		add(mark{"role", "people", w.r.T("box.serves")})
	}
	if n := w.leads(m.ID); m.Up && n > 0 {
		add(mark{"role", "disk", w.r.count("box.groups", n)})
	}
	return b
}

func (w *world) serves(id ident.Node) bool {
	c := w.Citizen
	if c == nil || w.age(c.Age) > oldAfter {
		return false
	}
	return c.Serving && id == w.ID || c.Proxy && !c.Serving && id == w.twin.ID && w.twin.Up
}

func (w *world) leads(id ident.Node) int {
	n := 0
	for _, g := range w.Node.Groups {
		if g.Primary == id {
			n++
		}
	}
	return n
}

// link joins what this node knows of a path to a peer.
func (w *world) link(path string, peer ident.Node) (l status.Link, known bool) {
	l.Up = true
	for _, one := range w.Links {
		if one.Path != path || one.Peer != peer || one.Kind == "data" && w.storeOld() {
			continue
		}
		known = true
		l.Up, l.Data = l.Up && one.Up, l.Data || one.Data && one.Up
		if l.RoundTripUS == 0 || one.RoundTripUS > 0 && one.RoundTripUS < l.RoundTripUS {
			l.RoundTripUS = one.RoundTripUS
		}
	}
	return l, known && !w.stale
}

func (w *world) wire(path string, from, to ident.Node, at route) wire {
	out := wire{Points: at.points, X: at.x, Y: at.y, Label: w.path(path)}
	peer := to
	if to == w.ID {
		peer = from
	}
	l, known := w.link(path, peer)
	switch {
	case from != w.ID && to != w.ID:
		out.Tone, out.State = "unseen", w.r.T("wire.unseen")
	case !known:
		out.Tone, out.State = "unseen", w.r.T("wire.unknown")
	case !l.Up:
		out.Tone, out.State = "bad", w.r.T("wire.down")
	default:
		out.Tone, out.Data, out.State = "good", l.Data, w.r.trip(l.RoundTripUS)
	}
	if out.Data {
		out.Third = w.r.T("wire.data")
	}
	return out
}

// inWords says what the picture shows, for who does not see it.
func (w *world) inWords() []string {
	var list []string
	p := w.picture(wideLayout)
	for _, b := range p.Boxes {
		text := b.Title
		for _, l := range b.Lines {
			text += ", " + l.Text
		}
		list = append(list, text+".")
	}
	for _, wi := range p.Wires {
		list = append(list, strings.TrimSuffix(wi.Label+", "+wi.State+", "+wi.Third, ", ")+".")
	}
	return slices.Clip(list)
}

// trip is a round trip time as it is shown.
func (r reader) trip(us int64) string {
	if us <= 0 {
		return r.T("wire.up")
	}
	ms := time.Duration(us*int64(time.Microsecond)).Seconds() * 1000
	format := "%.0f ms"
	switch {
	case ms < 1:
		format = "%.2f ms"
	case ms < 10:
		format = "%.1f ms"
	}
	return r.decimal(fmt.Sprintf(format, ms))
}
