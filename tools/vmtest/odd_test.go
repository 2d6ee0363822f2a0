package vmtest

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/boot"
	"beffroi.dev/tools/histories/rig"
	"beffroi.dev/tools/serial"
	"beffroi.dev/tools/vmpair"
)

// wrongCables crosses the two fibres, then plugs one into the town's network: the
// console names the fault, the service goes on, and all is well once they are right.
func wrongCables(t *testing.T, s *service) {
	for _, c := range []struct {
		name  string
		plugs [][2]string // of b: its card, the cable
		want  string
	}{
		{"crossed", [][2]string{{"fibre1", "fibre2"}, {"fibre2", "fibre1"}}, "Les deux fibres sont croisées"},
		{"in the lan", [][2]string{{"fibre1", "lan"}}, "Une fibre et le réseau de la mairie se touchent"},
	} {
		s.whole(t)
		line, err := s.Line(within(t, seenBound), "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := line.Home(within(t, seenBound)); err != nil {
			t.Fatal(err)
		}
		speak(t, line, serial.French)
		begun := time.Now()
		for _, p := range c.plugs {
			do(t, s.Pair, "plug", "b", p[0], p[1])
		}
		screen := sees(t, line, c.want)
		s.goOn(t, time.Now())
		t.Logf("fibres %s, after %.1f s:\n%s", c.name, time.Since(begun).Seconds(), screen)
		for _, p := range c.plugs {
			do(t, s.Pair, "plug", "b", p[0], p[0])
		}
		sees(t, line, "TOUT VA BIEN")
	}
}

// wrongClock starts a node whose clock says 2001: it joins its pair all the same, and
// its boot says what was wrong.
func wrongClock(t *testing.T, s *service) {
	serving, _ := s.whole(t)
	node := rig.Twin(serving)
	do(t, s.Pair, "kill", node)
	do(t, s.Pair, "start", node, "--clock", "2001-01-01")
	s.whole(t)
	table, err := s.Table(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(table.Phases, func(l boot.Line) bool { return l.Name == "clock" })
	if i < 0 || !strings.Contains(table.Phases[i].Note, "2001-01-01") {
		t.Errorf("the boot says nothing of the clock: %v", table.Phases)
	}
	t.Log(sees(t, s.french(t, node), "était fausse au démarrage"))
	api, err := s.API(node)
	if err != nil {
		t.Fatal(err)
	}
	st, err := api.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if off := time.Since(st.Time).Abs(); off > 10*time.Second {
		t.Errorf("the clock of %s is %v off", node, off)
	}
	t.Logf("%s, whose clock said 2001, is part of the pair; it says %v, the host %v; its boot: %s", node, st.Time.UTC().Format(time.DateTime), time.Now().UTC().Format(time.DateTime), table.Phases[i])
}

// twoOfOne starts a copy of a's disk in b's place: both say who is there too, and what
// to do about it.
func twoOfOne(t *testing.T, s *service) {
	s.whole(t)
	do(t, s.Pair, "kill", "b")
	do(t, s.Pair, "kill", "a")
	if err := vmpair.CopyDisk(filepath.Join(s.Dir, "a", "disk.raw"), filepath.Join(s.Dir, "b", "disk.raw"), 0); err != nil {
		t.Fatal(err)
	}
	for _, n := range vmpair.Data {
		do(t, s.Pair, "start", n)
	}
	for _, n := range vmpair.Data {
		line, err := s.Line(within(t, seenBound), n)
		if err != nil {
			t.Fatal(err)
		}
		screen, err := line.Await(within(t, bootBound), "Une autre machine du réseau se présente comme ce nœud")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("in the place of %s:\n%s", n, screen)
	}
}
