package vmtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/boot"
	"beffroi.dev/tools/histories/rig"
	"beffroi.dev/tools/serial"
)

// french brings the line of a node to its first screen, in French.
func (s *service) french(t *testing.T, node string) *serial.Line {
	t.Helper()
	line, err := s.Line(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := line.Home(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	speak(t, line, serial.French)
	return line
}

// kernelDies has the kernel of the serving node panic: the twin goes on, the machine
// starts again by itself, and tells what its last kernel said.
func kernelDies(t *testing.T, s *service) {
	node, before := s.whole(t)
	sh := s.shell(t, node)
	begun := time.Now()
	if err := sh.Send("echo c > /proc/sysrq-trigger"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Until(t.Context(), quietBound, rig.Twin(node)+" serves", func(st rig.Status) bool { return st.Citizen == rig.Twin(node) }); err != nil {
		t.Fatal(err)
	}
	s.goOn(t, begun)
	_, after := s.whole(t)
	if after.Count <= before.Count {
		t.Errorf("the guest is at %d; it had printed %d", after.Count, before.Count)
	}
	table, err := s.Table(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(table.Phases, func(l boot.Line) bool { return l.Name == "state" })
	if i < 0 || !strings.Contains(table.Phases[i].Note, "the last kernel died: ") || !strings.Contains(table.Phases[i].Note, "sysrq") {
		t.Errorf("the boot says nothing of the kernel that died: %+v", table.Phases)
	}
	sh = s.shell(t, node)
	kept, err := sh.Must(within(t, seenBound), "cat /state/node/logs/kernel/* | grep -c 'Kernel panic'")
	if err != nil {
		t.Error(err)
	}
	s.leave(t, sh)
	t.Logf("the kernel of %s panicked: all is whole after %.1f s; its boot: %s; %s lines of its last words are kept", node, time.Since(begun).Seconds(), table.Phases[i], strings.TrimSpace(kept))
	s.readBack(t)
}

// stateFull fills the state partition of the serving node: it says so, serves on, and
// all is well when there is room again.
func stateFull(t *testing.T, s *service) {
	node, _ := s.whole(t)
	line := s.french(t, node)
	sh := s.shell(t, node)
	if _, _, err := sh.Run(within(t, seenBound), "dd if=/dev/zero of=/state/fill bs=1048576 2>/dev/null; sync"); err != nil { // it ends with "no space"
		t.Fatal(err)
	}
	s.leave(t, sh)
	full := time.Now()
	screen := sees(t, line, "URGENT", "Le disque d'état du nœud "+node+" est plein")
	s.goOn(t, time.Now())
	if now := status(t, s.Pair); now.Citizen == "" {
		t.Errorf("nobody serves citizens: %+v", now)
	}
	t.Logf("the state of %s is full, said after %.1f s:\n%s", node, time.Since(full).Seconds(), screen)
	sh = s.shell(t, node)
	if _, err := sh.Must(within(t, seenBound), "rm /state/fill"); err != nil {
		t.Fatal(err)
	}
	s.leave(t, sh)
	sees(t, line, "TOUT VA BIEN")
	s.whole(t)
	s.readBack(t)
}

// serviceFails has a service die each time it is started: the console says which one,
// the others and the guest go on, and all is well once it lives.
func serviceFails(t *testing.T, s *service) {
	node, before := s.whole(t)
	sh := s.shell(t, node)
	const name, times = "console", 4
	old := 0
	for range times {
		old = one(t, sh, old, "beffroi", name)
		if _, err := sh.Must(within(t, seenBound), fmt.Sprintf("kill -9 %d", old)); err != nil {
			t.Fatal(err)
		}
	}
	s.leave(t, sh)
	line := s.french(t, node)
	t.Logf("%s of %s killed %d times in a row:\n%s", name, node, times, sees(t, line, "tombe et est relancé", name))
	sees(t, line, "TOUT VA BIEN")
	s.beyond(t, before.Count)
	s.whole(t)
	s.readBack(t)
}

// servicePanics has a service end as a fault in it ends it: the console says what it said
// last.
func servicePanics(t *testing.T, s *service) {
	node, before := s.whole(t)
	sh := s.shell(t, node)
	old := one(t, sh, 0, "beffroi", "console")
	if _, err := sh.Must(within(t, seenBound), fmt.Sprintf("kill -6 %d", old)); err != nil { // Go's runtime says where it was
		t.Fatal(err)
	}
	s.leave(t, sh)
	line := s.french(t, node)
	t.Logf("console of %s panicked:\n%s", node, sees(t, line, "console", "SIGABRT: abort"))
	sees(t, line, "TOUT VA BIEN")
	s.beyond(t, before.Count)
	s.whole(t)
}

// stopped stops each process of a service as soon as it is there, for a while.
const stopped = `n=0; while [ $n -lt 250 ]; do p=$(grep -l '[b]effroi.%s' /proc/[0-9]*/cmdline); p=${p#/proc/}; p=${p%%/cmdline}; [ -n "$p" ] && kill -19 $p; n=$((n+1)); sleep 0.1; done 2>/dev/null`

// serviceHangs has a service stand still before it is ready, each time it is started: it
// is killed in the end, the console says why, and all is well once it moves.
func serviceHangs(t *testing.T, s *service) {
	node, before := s.whole(t)
	sh := s.shell(t, node)
	begun := time.Now()
	old := one(t, sh, 0, "beffroi", "console")
	if _, err := sh.Must(within(t, seenBound), fmt.Sprintf("kill -9 %d", old)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := sh.Run(within(t, quietBound), fmt.Sprintf(stopped, "console")); err != nil {
		t.Fatal(err)
	}
	s.leave(t, sh)
	line := s.french(t, node)
	t.Logf("console of %s never gets ready; after %.1f s:\n%s", node, time.Since(begun).Seconds(), sees(t, line, "console", "not ready"))
	sees(t, line, "TOUT VA BIEN")
	s.beyond(t, before.Count)
	s.whole(t)
	s.readBack(t)
}
