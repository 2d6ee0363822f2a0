package rescue

import (
	"strings"
	"time"

	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/rescue/screen"
)

const (
	// staleAfter is when what is shown says how old it is.
	staleAfter = 4 * time.Second
	// busyBound is when an action that gives no answer stops blocking others.
	busyBound = 45 * time.Second
	// noticeFor is how long the line of results stays.
	noticeFor = 20 * time.Second
	// awakeFor is how long after a key the next one does not repaint the screen.
	awakeFor = 30 * time.Second
	// maxDepth bounds the views on top of each other.
	maxDepth = 8
)

// Effect is something that the engine should do. Its answer comes back as a Result.
type Effect struct {
	Do       Deed
	Name     string // of a service
	Password string
	Ask      *operator.Ask // what only init can do; Do is its name
}

// Deed names an effect; a word of the table, as "deed."+Deed, says what it is.
type Deed string

// The deeds.
const (
	Reboot         Deed = "reboot"
	PowerOff       Deed = "poweroff"
	RestartService Deed = "restart"
	CheckPassword  Deed = "password"
	OpenShell      Deed = "shell"
	TailLog        Deed = "log"
	Redraw         Deed = "redraw" // the whole screen, by the engine itself
	Leave          Deed = "leave"  // end the console: only where it was started by hand
)

// Result is how an effect ended.
type Result struct {
	Effect Effect
	Err    error
	Right  bool     // of CheckPassword
	Lines  []string // of TailLog
}

// view is one thing on the screen.
type view interface {
	title(m *Model) string
	key(m *Model, k screen.Key) []Effect
	draw(m *Model) content
}

// Model is the state of the console. It is pure: all input comes as arguments.
type Model struct {
	Lang  Lang
	ASCII bool
	// ownFont: the terminal is a screen, with the kernel's own font of 256 characters.
	ownFont bool
	zone    *time.Location

	now     time.Time
	keyAt   time.Time
	snap    Snapshot
	seen    bool // a snapshot has come
	views   []view
	home    homeView
	page    int // of the view on top
	pages   int // of it, as last drawn
	busy    Deed
	busyAt  time.Time
	asker   view         // that waits for what runs
	ahead   []screen.Key // typed since, for whatever the answer leads to
	notice  string       // key of the table
	args    []any
	alarm   bool // the notice is a failure
	told    time.Time
	secrets attempts
	shell   bool // a shell has the terminal
	can     Can
}

// Can is what the menu offers beyond what every console can: an entry that could
// only fail is not shown.
type Can struct {
	Power bool // Reboot and PowerOff
	Shell bool
}

// NewModel makes the console's state; times are shown in zone.
func NewModel(l Lang, zone *time.Location, now time.Time, can Can) *Model {
	return &Model{Lang: l, zone: zone, now: now, keyAt: now, can: can}
}

func (m *Model) t(key string, args ...any) string {
	s := say(m.Lang, key, args...)
	if m.ownFont {
		s = apart.Replace(s)
	}
	return s
}

// apart writes the ligatures that the kernel's own font lacks as their letters.
var apart = strings.NewReplacer("œ", "oe", "Œ", "OE")

// Shell says whether a shell has the terminal: keys belong to it.
func (m *Model) Shell() bool { return m.shell }

func (m *Model) top() view {
	if len(m.views) == 0 {
		return &m.home
	}
	return m.views[len(m.views)-1]
}

func (m *Model) push(v view) {
	if len(m.views) < maxDepth {
		m.views, m.page = append(m.views, v), 0
	}
}

func (m *Model) pop() {
	if len(m.views) > 0 {
		m.views, m.page = m.views[:len(m.views)-1], 0
	}
}

// goHome leaves all views.
func (m *Model) goHome() { m.views, m.page = nil, 0 }

// Snapshot takes what the Source says.
func (m *Model) Snapshot(s Snapshot) {
	m.snap, m.seen = s, true
}

// Tick tells the time, once a second.
func (m *Model) Tick(now time.Time) []Effect {
	m.now = now
	if m.busy != "" && !m.shell && now.Sub(m.busyAt) > busyBound {
		m.tell(true, "notice.noanswer", m.t("deed."+string(m.busy)))
		m.busy, m.asker, m.ahead = "", nil, nil // what was typed since has no question
	}
	if m.notice != "" && now.Sub(m.told) > noticeFor {
		m.notice = ""
	}
	if t, ok := m.top().(interface{ tick(m *Model) []Effect }); ok {
		return t.tick(m)
	}
	return nil
}

// tell shows one line of news.
func (m *Model) tell(alarm bool, key string, args ...any) {
	m.notice, m.args, m.alarm, m.told = key, args, alarm, m.now
}

// act starts an effect unless another runs: one at a time, so that nobody has to
// guess which one an answer belongs to.
func (m *Model) act(e Effect) []Effect {
	if m.busy != "" {
		m.tell(true, "notice.busy", m.t("deed."+string(m.busy)))
		return nil
	}
	m.busy, m.busyAt, m.notice, m.asker, m.ahead = e.Do, m.now, "", m.top(), nil
	return []Effect{e}
}

// Key takes a key stroke.
func (m *Model) Key(k screen.Key) []Effect {
	asleep := m.now.Sub(m.keyAt) > awakeFor
	m.keyAt = m.now
	effects := m.dispatch(k)
	if asleep { // whoever plugs a terminal in presses a key, and should see it all
		effects = append(effects, Effect{Do: Redraw})
	}
	return effects
}

func (m *Model) dispatch(k screen.Key) []Effect {
	_, typing := m.top().(interface{ typing() })
	switch {
	case k.Code == screen.Repaint:
		return []Effect{{Do: Redraw}}
	case k.Code == screen.Interrupt:
		return []Effect{{Do: Leave}}
	case k.Code == screen.F2, k.Rune == 'l' && !typing:
		m.Lang = 1 - m.Lang
		return nil
	case k.Code == screen.F3:
		m.ASCII = !m.ASCII
		return []Effect{{Do: Redraw}}
	case k.Code == screen.F1, k.Rune == 'm' && !typing:
		m.ahead = nil
		m.goHome()
		m.push(newMenu())
		return nil
	case k.Code == screen.Esc:
		m.ahead = nil
		m.pop()
		return nil
	case m.awaiting():
		m.hold(k)
		return nil
	case k.Code == screen.PageDown, k.Rune == ' ' && !typing && k.Code == screen.Char:
		if _, own := m.top().(pager); !own {
			m.page = min(m.page+1, max(m.pages-1, 0))
			return nil
		}
	case k.Code == screen.PageUp:
		if _, own := m.top().(pager); !own {
			m.page = max(m.page-1, 0)
			return nil
		}
	}
	return m.top().key(m, k)
}

// pager is a view that turns its pages itself.
type pager interface{ pager() }

// Done takes the answer to an effect.
func (m *Model) Done(r Result) []Effect {
	e := r.Effect
	if e.Do == TailLog {
		if v, ok := m.top().(*logView); ok && v.service == e.Name {
			v.take(r)
		}
		return nil
	}
	waited := m.awaiting() // whoever asked still looks at the question
	if m.busy == e.Do {
		m.busy, m.asker = "", nil
	}
	switch e.Do {
	case CheckPassword:
		m.ahead = nil // after a right one the keys are the shell's, and after a wrong one nobody's
		return m.checked(r)
	case OpenShell:
		m.shell = false
		m.goHome()
	}
	if r.Err != nil {
		m.refused(e, waited, r.Err)
		return nil
	}
	if e.Ask != nil {
		m.founded(e, waited)
		return m.replay()
	}
	switch e.Do {
	case Reboot, PowerOff:
		m.goHome()
		m.push(&farewellView{deed: e.Do})
	case RestartService:
		m.tell(false, "notice.restarted", e.Name)
	}
	return nil
}

// refused says why something was not done: in the form that asked for it, for as
// long as it is there, or in the line of news.
func (m *Model) refused(e Effect, waited bool, err error) {
	if v, ok := m.top().(*formView); ok && waited {
		v.wrong = m.t("notice.failed", m.t("deed."+string(e.Do)), m.fault(err))
		if n := len(m.ahead); n > 0 { // meant for a question that does not come
			m.ahead = nil
			m.tell(true, "notice.dropped", n)
		}
		return
	}
	m.tell(true, "notice.failed", m.t("deed."+string(e.Do)), m.fault(err))
}
