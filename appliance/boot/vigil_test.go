package boot

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// What the watchdog hangs on: each row is a story, told to a vigil second by second, and
// whether the watchdog may be fed at its end.
func TestTheWatchdogIsFedWhileTheBootAndThenTheLoopsMove(t *testing.T) {
	at := func(s int) time.Duration { return time.Duration(s) * time.Second }
	for _, tt := range []struct {
		name  string
		story func(v *vigil)
		at    int
		fault string // part of the words; empty: it may be fed
	}{
		{"before the first phase", func(*vigil) {}, 3600, ""},
		{"a phase within its bound", func(v *vigil) { v.enter(at(5), "modules", at(60)) }, 65, ""},
		{"a phase that hangs", func(v *vigil) { v.enter(at(5), "modules", at(60)) }, 66, "phase modules has not got on for 1m1s"},
		{"a phase that gets on", func(v *vigil) { v.enter(0, "state", at(60)); v.moves(at(50)); v.moves(at(100)) }, 160, ""},
		{"a phase that got on, and then hangs", func(v *vigil) { v.enter(0, "state", at(60)); v.moves(at(50)) }, 111, "phase state"},
		{"the next phase has a bound of its own", func(v *vigil) { v.enter(0, "state", at(60)); v.enter(at(59), "identity", at(60)) }, 119, ""},
		{"the next try of a phase, too", func(v *vigil) {
			for try := range 50 {
				v.enter(at(40*try), "disk", at(60))
				v.enter(at(40*try+38), "after disk", at(60))
			}
		}, 50 * 40, ""},
		{"a phase that waits for a person", func(v *vigil) { v.enter(0, "identity", at(60)); v.within(at(10), untold) }, 1_000_000, ""},
		{"and what follows, when the person came", func(v *vigil) {
			v.enter(0, "identity", at(60))
			v.within(at(10), untold)
			v.within(at(5000), at(60))
		}, 5061, "phase identity"},
		{"a boot that stands between two phases", func(v *vigil) { v.enter(0, "disk", at(300)); v.enter(at(3), "after disk", pausing) }, 64, "phase after disk"},
		{"services that begin", func(v *vigil) { v.enter(0, "clock", at(60)); v.watch(at(100)) }, 109, ""},
		{"the bounds of phases count no more", func(v *vigil) {
			v.enter(0, "clock", at(60))
			v.watch(at(1))
			v.beat(at(300), fences, true)
			v.beat(at(300), services, true)
		}, 309, ""},
		{"beats that never come", func(v *vigil) { v.watch(at(100)) }, 110, "a guest or an address that must go"},
		{"a loop that is silent", func(v *vigil) { v.watch(0); v.beat(at(60), fences, true) }, 60, "the services are not looked after"},
		{"a loop that says that all is not well", func(v *vigil) {
			v.watch(0)
			v.beat(at(60), fences, false)
			v.beat(at(60), services, true)
		}, 60, "a guest or an address that must go"},
		{"a later life of init whose phases fail, and whose fences are executed", func(v *vigil) {
			v.linger(0, true)
			for try := range 50 {
				v.enter(at(2*try), "network", at(300))
				v.beat(at(2*try), fences, true)
			}
		}, 100, ""},
		{"one that cannot execute them", func(v *vigil) { v.linger(0, true); v.enter(at(9), "network", at(300)); v.beat(at(9), fences, false) }, 10, "a guest or an address that must go"},
		{"a later life whose machine is to end", func(v *vigil) {
			v.linger(0, true)
			v.linger(at(5), false)
			v.watch(at(5))
			v.enter(at(6), "end", leaving)
		}, 300, ""},
		{"an end of the machine asks for no beats", func(v *vigil) { v.watch(0); v.enter(at(60), "end", leaving) }, 300, ""},
		{"but it may not hang", func(v *vigil) { v.watch(0); v.enter(at(60), "end", at(300)) }, 361, "phase end"},
		{"a loop that is well again", func(v *vigil) {
			v.watch(0)
			v.beat(at(60), fences, false)
			v.beat(at(61), fences, true)
			v.beat(at(61), services, true)
		}, 62, ""},
	} {
		var v vigil
		tt.story(&v)
		french, english := v.fault(at(tt.at))
		if (english == "") != (tt.fault == "") || !strings.Contains(english, tt.fault) || (french == "") != (english == "") {
			t.Errorf("%s: %q, %q; want %q", tt.name, french, english, tt.fault)
		}
	}
}

// A feeder says once why it stops, has the kernel panic before the hardware strikes, and
// feeds again when what was stuck moves after all.
func TestAFeederThatStopsSaysWhyAndThenHasTheKernelPanic(t *testing.T) {
	var did []string
	f := newFeeder(t.Context(), slog.New(slog.DiscardHandler))
	f.say = func(_, english string) { did = append(did, english) }
	f.crash = func() { did = append(did, "panic") }
	ask := func(times int) (fed int) {
		for range times {
			if f.good() {
				fed++
			}
		}
		return fed
	}
	if f.enter("board", quick); ask(10) != 10 {
		t.Error("a phase that has just begun is not fed for")
	}
	f.from = f.from.Add(-quick - time.Second) // that much later
	if ask(lastRefusal-1) != 0 || len(did) != 1 || !strings.Contains(did[0], "phase board") {
		t.Errorf("a phase that hangs: %v", did)
	}
	if f.moves(); ask(10) != 10 {
		t.Error("a phase that moves after all is not fed for")
	}
	f.from = f.from.Add(-quick - time.Second)
	if ask(lastRefusal+10) != 0 || len(did) != 3 || slices.Index(did, "panic") != 2 {
		t.Errorf("a phase that hangs for good: %v", did)
	}
}

// What comes first needs nothing of what comes later.
func TestTheOrderOfTheBoot(t *testing.T) {
	var names []string
	for _, p := range new(system).phases(nil) {
		names = append(names, p.Name)
		if p.Within <= 0 {
			t.Errorf("phase %s may hang for ever", p.Name)
		}
	}
	for _, pair := range [][2]string{
		{"board", "watchdog"},   // whose drivers the board names
		{"watchdog", "modules"}, // drivers may hang
		{"watchdog", "state"},   // and so may a check
		{"console", "userland"}, // which is tried for ever, and says so there
		{"userland", "modules"}, // firmware lies in the image
		{"modules", "disk"},     // whose driver may be a module
		{"state", "identity"},   // which lies there
		{"identity", "network"}, // which it describes
	} {
		if before, after := slices.Index(names, pair[0]), slices.Index(names, pair[1]); before < 0 || before > after {
			t.Errorf("%v: %s does not come before %s", names, pair[0], pair[1])
		}
	}
}
