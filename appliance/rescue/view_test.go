package rescue

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/charmap"

	"beffroi.dev/appliance/rescue/screen"
)

var update = flag.Bool("update", false, "write the golden screens anew")

// night is when all tests happen.
var night = time.Date(2026, 2, 3, 3, 12, 45, 0, time.UTC)

// healthy is a node with everything in order.
func healthy() Snapshot {
	prefix := netip.MustParsePrefix
	return Snapshot{
		At: night,
		Host: Host{Name: "beffroi-a", Kernel: "6.12.41", Uptime: 76*time.Hour + 12*time.Minute, MemoryBytes: 64 << 30, MemoryFree: 20 << 30,
			StateBytes: 4 << 30, StateFree: 3 << 30},
		Boot: booted("done"),
		Net: Net{Gateway: netip.MustParseAddr("10.20.0.1"), Service: "10.20.0.80:443", Ports: []Port{
			{Name: "lan", Up: true, Addresses: []netip.Prefix{prefix("10.20.0.11/24"), prefix("10.20.0.80/32")}},
			{Name: "fibre1", Up: true, Addresses: []netip.Prefix{prefix("fd00:beff:1::1/64")}},
			{Name: "fibre2", Up: true, Addresses: []netip.Prefix{prefix("fd00:beff:2::1/64")}}},
			Cards: []Card{{Role: "lan", Name: "enp1s0"}, {Role: "fibre1", Name: "enp4s0", From: "enp2s0", Twin: true}, {Role: "fibre2", Name: "enp3s0", Twin: true}}},
		Pairing:  Pairing{Known: true, Paired: true},
		Watchdog: Watchdog{Known: true, Armed: true, Driver: "iTCO_wdt", Timeout: 30 * time.Second},
		Services: []string{"node", "block", "vm", "citizen", "console"},
		Logs:     []string{"init", "node", "block", "vm", "citizen", "console"},
		Pair: Pair{Known: true, Self: "a", Site: "principal", Leader: "a", Vouched: true,
			Members: []Member{{Name: "a", Site: "principal", Self: true, Up: true}, {Name: "b", Site: "secours", Up: true}, {Name: "témoin", Site: "témoin", Witness: true, Up: true}},
			Links:   []Link{{Path: "fibre1", Peer: "b", Up: true, Data: true}, {Path: "fibre2", Peer: "b", Up: true}, {Path: "lan", Peer: "témoin", Up: true}},
			Store:   &Store{Age: time.Second, Capacity: 2 << 40, Free: 13 << 37, Linked: true},
			Groups:  []Group{{Name: "citoyens", Citizen: true, Primary: "a", InSync: []string{"a", "b"}}, {Name: "machines", Primary: "a", InSync: []string{"a", "b"}}},
			VMs:     []VM{{Name: "compta", Node: "a", State: "running", Run: true}, {Name: "cadastre", Node: "b", Run: true}, {Name: "essai", Node: "a"}},
			Citizen: Citizen{Known: true, By: "a", Copies: 2, Here: true},
			Events: []Event{{At: night.Add(-30 * time.Hour), Kind: "create-group", Object: "machines"},
				{At: night.Add(-3 * time.Hour), Kind: "shrink", Object: "citoyens", Text: "the twin does not answer"},
				{At: night.Add(-2 * time.Hour), Kind: "grow", Object: "citoyens", Text: "the twin holds everything again"}},
		},
	}
}

func booted(last string) Boot {
	b := Boot{Version: "1.0.0"}
	for i, name := range []string{"mounts", "board", "watchdog", "console", "userland", "modules", "disk", "state", "identity", "network", "clock", "services"} {
		b.Phases = append(b.Phases, Phase{Name: name, State: "done", Seconds: 0.12 * float64(i+1)})
	}
	b.Phases[len(b.Phases)-1].State = last
	return b
}

func alarm(s *Snapshot, code, object string) {
	s.Pair.Alarms = append(s.Pair.Alarms, Alarm{code, object})
}

// states are the situations of a node, good and bad.
var states = map[string]func(*Snapshot){
	"healthy":   func(*Snapshot) {},
	"no-node":   func(s *Snapshot) { s.Pair = Pair{Self: "a", Site: "principal", Err: errors.New("connection refused")} },
	"node-died": func(s *Snapshot) { s.Pair.Err = errors.New("connection refused") },
	"no-twin": func(s *Snapshot) {
		s.Pair.Members[1].Up, s.Pair.Store.Linked = false, false
		s.Pair.Links[0].Up, s.Pair.Links[0].Data, s.Pair.Links[1].Up = false, false, false
		for i := range s.Pair.Groups {
			s.Pair.Groups[i].InSync = []string{"a"}
		}
		s.Pair.Citizen.Copies = 1
		alarm(s, "twin-silent", "b")
	},
	"solo": func(s *Snapshot) {
		s.Pair.Groups[0].InSync, s.Pair.Citizen.Copies, s.Pair.Store.Linked = []string{"a"}, 1, false
		alarm(s, "solo", "citoyens")
	},
	"resync": func(s *Snapshot) {
		s.Pair.Groups[0].InSync, s.Pair.Citizen.Copies = []string{"a"}, 1
		s.Pair.Groups[0].Resync = &Resync{Percent: 37, Left: 23 * time.Minute}
		alarm(s, "resync", "citoyens")
	},
	"blackout": func(s *Snapshot) { // it came back alone, and what is newest lies on the other
		s.Pair.Members[1].Up, s.Pair.Store.Linked = false, false
		s.Pair.Groups[0].InSync = []string{"b"}
		s.Pair.Citizen = Citizen{Known: true}
		alarm(s, "twin-silent", "b")
	},
	"alone": func(s *Snapshot) {
		s.Pair.Vouched, s.Pair.Members[1].Up, s.Pair.Members[2].Up, s.Pair.Store.Linked = false, false, false, false
		for i := range s.Pair.Links {
			s.Pair.Links[i] = Link{Path: s.Pair.Links[i].Path, Peer: s.Pair.Links[i].Peer}
		}
		s.Net.Ports[0].Up, s.Net.Ports[0].Addresses = false, nil
		s.Pair.Citizen = Citizen{Known: true}
		alarm(s, "no-majority", "")
	},
	"store-failed": func(s *Snapshot) {
		s.Pair.Store.Failed = "write /dev/nvme0n1p4: input/output error"
		alarm(s, "store-failed", "a")
	},
	"recovers": func(s *Snapshot) {
		mb := int64(412)
		s.Recovers, s.Pair.Store = &mb, nil
		alarm(s, "store-silent", "a")
	},
	"on-trial": func(s *Snapshot) { s.Boot.Trial = &Trial{State: "on-trial", Cause: "store-silent"} },
	"unproved": func(s *Snapshot) {
		s.Boot.Trial = &Trial{State: "failed", Cause: "page-silent", Detail: "503"}
	},
	"ending":   func(s *Snapshot) { s.Boot.Ending = &Ending{Guests: 3, Groups: 2} },
	"ending-2": func(s *Snapshot) { s.Boot.Ending = &Ending{Group: 1, Groups: 2} },
	"two-of-one": func(s *Snapshot) { // a copy of this node's disk runs in the twin's place
		s.Pair.Vouched, s.Pair.Members[1].Up, s.Pair.Members[2].Up, s.Pair.Store.Linked = false, false, false, false
		alarm(s, "twin-silent", "b")
		alarm(s, "cable-identity", "lan (eth0)")
	},
	"crossed": func(s *Snapshot) { // and that is why there is one copy
		alarm(s, "solo", "citoyens")
		alarm(s, "cable-crossed", "fibre1 (enp3s0)")
	},
	"bad-clock": func(s *Snapshot) { alarm(s, "clock-corrected", "a") },
	"booting": func(s *Snapshot) {
		s.Boot = booted("running")
		s.Pair, s.Pairing = Pair{}, Pairing{}
	},
	"boot-failed": func(s *Snapshot) {
		s.Boot = booted("waiting")
		s.Boot.Phases[7].State, s.Boot.Phases[7].Error = "failed", "fsck of /dev/nvme0n1p3: exit status 4: UNEXPECTED INCONSISTENCY; run fsck manually"
		s.Boot.Phases[7].Fault = "state-damaged"
		for i := 8; i < 12; i++ {
			s.Boot.Phases[i] = Phase{Name: s.Boot.Phases[i].Name, State: "waiting"}
		}
		s.Pair, s.Pairing = Pair{}, Pairing{}
	},
	"boot-goes-back": func(s *Snapshot) { // a driver is missing from the new release
		s.Boot = booted("waiting")
		s.Boot.Phases[6].State, s.Boot.Phases[6].Error, s.Boot.Phases[6].Fault = "failed", "no partition beffroi-state on 0 disks", "disk-missing"
		for i := 7; i < 12; i++ {
			s.Boot.Phases[i] = Phase{Name: s.Boot.Phases[i].Name, State: "waiting"}
		}
		s.Boot.Trial = &Trial{State: "on-trial", Cause: "phase-fails", Detail: "disk", Back: true}
		s.Pair, s.Pairing = Pair{}, Pairing{}
	},
	"no-card": func(s *Snapshot) {
		alarm(s, "cable-no-card", "fibre2")
	},
	"boot-no-card": func(s *Snapshot) {
		s.Boot = booted("waiting")
		s.Boot.Phases[9].State, s.Boot.Phases[9].Error = "failed", "lan: there is no card #0; this machine has no card: is its driver missing?"
		s.Boot.Phases[9].Fault, s.Boot.Phases[9].Roles = "no-port", []string{"lan", "fibre1", "fibre2"}
		s.Pair, s.Pairing = Pair{}, Pairing{}
	},
	"no-init": func(s *Snapshot) {
		s.NoInit, s.Pair = true, Pair{Self: "a", Site: "main", Err: errors.New("connection refused")}
	},
	"soft-watchdog": func(s *Snapshot) {
		s.Boot.Phases[2].State, s.Boot.Phases[2].Error, s.Boot.Phases[2].Fault = "skipped", "no hardware watchdog", "watchdog-software"
		s.Watchdog.Driver = "Software Watchdog"
	},
	"unpaired": func(s *Snapshot) {
		s.Boot = booted("waiting")
		s.Boot.Phases[8].State = "failed"
		s.Pair, s.Pairing, s.Net.Service, s.Services = Pair{}, Pairing{Known: true}, "", nil
	},
	"nothing": func(s *Snapshot) {
		*s = Snapshot{At: night, Boot: Boot{Err: errors.New("no such file")}, Net: Net{Err: errors.New("netlink: denied")}}
	},
}

// walks are the keys to each view, from the healthy status.
var walks = map[string]string{
	"status-2": " ", "menu": "m", "network": "m\r", "logs": "m2\r", "log": "m2\r2\r", "services": "m3\r", "restart": "m3\r2\r",
	"reboot": "m4\r", "poweroff": "m5\r", "shell": "m6\rabc", "boot": "m7\r", "language": "m8\r",
}

func model(l Lang, s Snapshot) *Model {
	m := NewModel(l, time.UTC, night, Can{Power: true, Shell: true})
	m.Snapshot(s)
	return m
}

// press types keys and gives the effects.
func press(m *Model, keys string) (all []Effect) {
	var d screen.Decoder
	for _, k := range append(d.Feed([]byte(keys)), d.Flush()...) {
		m.View() // as the engine does: it bounds pages
		all = append(all, m.Key(k)...)
	}
	return all
}

func inState(l Lang, name string) *Model {
	s := healthy()
	states[name](&s)
	return model(l, s)
}

// at is the model at the end of a walk.
func at(l Lang, name string) *Model {
	m := model(l, healthy())
	for _, e := range press(m, walks[name]) {
		if e.Do == TailLog {
			m.Done(Result{Effect: e, Lines: []string{"time=2026-02-03T03:12:01.5Z level=INFO msg=\"voted\" term=7", "not from slog\x1b[2J", strings.Repeat("long ", 40)}})
		}
	}
	return m
}

func TestGoldenScreens(t *testing.T) {
	for l, tag := range []string{"fr", "en"} {
		for name := range states {
			golden(t, name+"."+tag, inState(Lang(l), name))
		}
		for name := range walks {
			golden(t, name+"."+tag, at(Lang(l), name))
		}
	}
}

func golden(t *testing.T, name string, m *Model) {
	t.Run(name, func(t *testing.T) {
		got := m.View().Text()
		fits(t, m)
		file := filepath.Join("testdata", name+".txt")
		if *update {
			if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Error(d)
		}
	})
}

// fits holds that a view's text lies beside other text and inside the screen, and
// that the lines around it are whole.
func fits(t *testing.T, m *Model) {
	t.Helper()
	c := m.top().draw(m)
	for _, l := range slices.Concat(c.pinned, c.body) {
		end := 0
		for _, p := range l {
			if p.x < end {
				t.Errorf("%q lies over what is left of it", p.text)
			}
			if end = p.x + screen.Columns(p.text); end > screen.Width-1 {
				t.Errorf("%q ends in column %d", p.text, end)
			}
		}
	}
	b := m.View()
	if !strings.Contains(b.Line(0), m.top().title(m)+"  ") {
		t.Errorf("title: %q", b.Line(0))
	}
	bottom := b.Line(bottomRow)
	for _, want := range []string{c.keys, yes(len(m.views) > 0, "bottom.back", "")} {
		if want != "" && !strings.Contains(bottom, m.t(want)) {
			t.Errorf("%q lacks %q", bottom, m.t(want))
		}
	}
	if m.pages > 1 && !strings.HasSuffix(bottom, fmt.Sprintf("  %d/%d", m.page+1, m.pages)) {
		t.Errorf("%q does not say the page", bottom)
	}
	for y := range screen.Height {
		if strings.Contains(b.Line(y), "%!") {
			t.Errorf("%q lacks a value", b.Line(y))
		}
	}
}

// Names as long as anybody makes them stay inside.
func TestLongNamesFit(t *testing.T) {
	long := strings.Repeat("Saint-Quentin-en-Yvelines ", 8)
	for l := range Lang(2) {
		for name, change := range states {
			s := healthy()
			change(&s)
			s.Host.Name, s.Pair.Self, s.Pair.Site, s.Net.Service = long, long, long, long
			for i := range s.Pair.Members {
				s.Pair.Members[i].Name, s.Pair.Members[i].Site = long, long
			}
			for i := range s.Pair.Groups {
				s.Pair.Groups[i].Name = long
			}
			for i := range s.Pair.VMs {
				s.Pair.VMs[i].Name, s.Pair.VMs[i].Node, s.Pair.VMs[i].Cause = long, long, long
			}
			for i := range s.Pair.Alarms {
				s.Pair.Alarms[i].Object = long
			}
			for i := range s.Pair.Events {
				s.Pair.Events[i].Object, s.Pair.Events[i].Text = long, long
			}
			m := model(l, s)
			t.Run(name, func(t *testing.T) { fits(t, m) })
			press(m, "m4\r")
			t.Run(name+" reboot", func(t *testing.T) { fits(t, m) })
		}
	}
}

var (
	verb = regexp.MustCompile(`%[sd%]`)
	// literal is a key of the table in the source, whole.
	literal = regexp.MustCompile(`"((?:title|menu|language|bottom|wait|boot|first|level|row|node|net|link|pair|data|votes|mirror|vm|citizen|store|watchdog|span|unit|log|confirm|means|restart|relief|shell|notice|fault|what|do|list)\.[a-z][a-z0-9.-]*[a-z0-9])"`)
)

func TestEveryWordIsThereInBothLanguages(t *testing.T) {
	for key, w := range words {
		if w[French] == "" || w[English] == "" {
			t.Errorf("%s: a language is missing", key)
		}
		if fr, en := verb.FindAllString(w[French], -1), verb.FindAllString(w[English], -1); !slices.Equal(fr, en) {
			t.Errorf("%s: values %v and %v", key, fr, en)
		}
		for _, text := range w {
			if strings.Contains(screen.Clean(text), "?") && !strings.Contains(text, "?") {
				t.Errorf("%s: %q has characters that the screen does not", key, text)
			}
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		for _, k := range literal.FindAllStringSubmatch(string(text), -1) {
			if _, ok := words[k[1]]; !ok && !strings.HasSuffix(k[1], ".json") {
				t.Errorf("%s uses %q, which the table lacks", f, k[1])
			}
		}
	}
	for _, a := range alarms {
		for _, prefix := range []string{"what.", "do."} {
			if _, ok := words[prefix+a.code]; !ok {
				t.Errorf("the table lacks %s%s", prefix, a.code)
			}
		}
	}
}

// What a second costs on the line.
func TestASecondIsCheap(t *testing.T) {
	m := model(French, healthy())
	var r screen.Renderer
	t.Logf("whole screen: %d bytes", len(r.Render(m.View())))
	worst := 0
	for i := range 120 {
		s := healthy()
		s.At = night.Add(time.Duration(i) * time.Second)
		s.Host.Uptime += time.Duration(i) * time.Second
		m.Snapshot(s)
		m.Tick(s.At)
		worst = max(worst, len(r.Heal(m.View())))
	}
	t.Logf("a second: at most %d bytes", worst)
	if worst >= 200 {
		t.Errorf("a second costs %d bytes", worst)
	}
}

func TestAServiceThatFailsIsOnTheStatusScreen(t *testing.T) {
	s := healthy()
	s.Troubled = []Service{{Name: "node", State: "back-off", Down: true, Failures: 7, Words: "panic: runtime error: index out of range"}, {Name: "citizen", State: "ready", Failures: 1, Words: "killed"}}
	full := healthy()
	full.Host.StateFree = full.Host.StateBytes / 200
	for lang, want := range map[Lang][]string{
		French:  {"tombe et est relanc", "7 échec(s)", "panic:", "est plein"},
		English: {"fails and is started again", "7 failure(s)", "panic:", "is full"},
	} {
		text := ""
		for _, snap := range []Snapshot{s, full} {
			m := model(lang, snap)
			text += m.View().Text()
			press(m, " ") // the next page
			text += m.View().Text()
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%v: %q is missing in\n%s", lang, w, text)
			}
		}
	}
}

// The kernel's font of a screen is code page 437; it shows capitals with an accent that
// it lacks without. What else is not in it is written another way.
func TestAScreenShowsOnlyWhatItsFontHas(t *testing.T) {
	m := model(French, healthy())
	m.ownFont = true
	r := screen.Renderer{OwnFont: true}
	for key := range words {
		for _, l := range []Lang{French, English} {
			m.Lang = l
			for part := range slices.Chunk([]rune(m.t(key)+"…"), screen.Width) {
				b := &screen.Buffer{}
				b.Put(0, 0, screen.Plain, string(part))
				r.Invalidate()
				for _, c := range string(r.Render(b)) {
					if _, ok := charmap.CodePage437.EncodeRune(c); !ok && !strings.ContainsRune("ÀÈÊ", c) {
						t.Errorf("%s in %v: %q is not in the font", key, l, c)
					}
				}
			}
		}
	}
}
