package vmtest

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"beffroi.dev/tools/serial"
)

// pids finds the processes whose command line has words in a row.
func pids(t *testing.T, sh *serial.Shell, words ...string) []int {
	t.Helper()
	first := words[0]
	words[0] = "[" + first[:1] + "]" + first[1:] // so that the search does not find itself
	out, _, err := sh.Run(within(t, seenBound), "grep -l '"+strings.Join(words, ".")+"' /proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	words[0] = first
	var all []int
	for f := range strings.FieldsSeq(out) {
		if rest, ok := strings.CutPrefix(f, "/proc/"); ok {
			if n, err := strconv.Atoi(strings.TrimSuffix(rest, "/cmdline")); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// one waits until exactly one process has the words, and it is none of those before.
func one(t *testing.T, sh *serial.Shell, not int, words ...string) int {
	t.Helper()
	for limit := time.Now().Add(seenBound); ; time.Sleep(200 * time.Millisecond) {
		all := pids(t, sh, words...)
		if len(all) == 1 && all[0] != not {
			return all[0]
		}
		if time.Now().After(limit) {
			t.Fatalf("processes %v: %v; want one that is not %d", words, all, not)
		}
	}
}

// killServices kills every service of the guest's node: it comes back, and the same
// QEMU counts on.
func killServices(t *testing.T, s *service) {
	_, guest := s.whole(t)
	sh := s.shell(t, guest.Node)
	qemu := one(t, sh, 0, "qemu-system-x86_64")
	for _, name := range []string{"console", "citizen", "vm", "node", "block"} {
		old := one(t, sh, 0, "beffroi", name)
		before := s.beyond(t, 0)
		killed := time.Now()
		if _, err := sh.Must(within(t, seenBound), fmt.Sprintf("kill -9 %d", old)); err != nil {
			t.Fatal(err)
		}
		fresh := one(t, sh, old, "beffroi", name)
		hasOwnRights(t, sh, name, fresh)
		back := time.Since(killed)
		s.whole(t)
		after := s.beyond(t, before.Count)
		if now := one(t, sh, 0, "qemu-system-x86_64"); now != qemu || after.Node != guest.Node {
			t.Errorf("killing %s ended the guest: process %d on %s became %d on %s", name, qemu, guest.Node, now, after.Node)
		}
		t.Logf("%s (%d) killed: %d took its place within %.1f s, all is whole after %.1f s; the guest counted on from %d to %d in process %d",
			name, old, fresh, back.Seconds(), time.Since(killed).Seconds(), before.Count, after.Count, qemu)
	}
	s.leave(t, sh)
	s.readBack(t)
}

// capabilities that a service may have, as /proc tells them; the others have none.
var capabilities = map[string]string{"vm": "00000000000000e1"} // chown, kill, setgid, setuid

// hasOwnRights checks that a process has a user and a control group of its own, and can
// gain no rights.
func hasOwnRights(t *testing.T, sh *serial.Shell, service string, pid int) {
	t.Helper()
	out, err := sh.Must(within(t, seenBound), fmt.Sprintf("cat /proc/%d/status /proc/%d/cgroup", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		has[key] = strings.Join(strings.Fields(value), " ")
	}
	caps := cmp.Or(capabilities[service], "0000000000000000")
	uid, _, _ := strings.Cut(has["Uid"], " ")
	if uid == "" || uid == "0" || has["CapEff"] != caps || has["NoNewPrivs"] != "1" || !strings.Contains(has["0"], service) {
		t.Errorf("%s (%d) runs as user %s with capabilities %s, no new rights %q, in %s", service, pid, uid, has["CapEff"], has["NoNewPrivs"], has["0"])
	}
}

// killInit kills init: process 1 starts it again, and the guest lives on.
func killInit(t *testing.T, s *service) {
	_, guest := s.whole(t)
	sh := s.shell(t, guest.Node)
	old, qemu := one(t, sh, 0, "beffroi", "init"), one(t, sh, 0, "qemu-system-x86_64")
	killed := time.Now()
	if err := sh.Send(fmt.Sprintf("kill -9 %d", old)); err != nil {
		t.Fatal(err)
	}
	line, err := s.Line(within(t, seenBound), guest.Node)
	if err != nil {
		t.Fatal(err)
	}
	if err := line.Hear(within(t, seenBound), "init has ended (signal killed)"); err != nil {
		t.Fatal(err)
	}
	if _, err := line.Home(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	s.whole(t)
	after := s.beyond(t, guest.Count)
	sh = s.shell(t, guest.Node)
	fresh := one(t, sh, old, "beffroi", "init")
	if now := one(t, sh, 0, "qemu-system-x86_64"); now != qemu || after.Node != guest.Node {
		t.Errorf("the guest's process %d on %s became %d on %s", qemu, guest.Node, now, after.Node)
	}
	t.Logf("init (%d) killed: %d took its place; all is whole after %.1f s; the guest counted on from %d to %d in process %d",
		old, fresh, time.Since(killed).Seconds(), guest.Count, after.Count, qemu)
	s.leave(t, sh)
	s.readBack(t)
}

// freezeInit stops init: nobody feeds the watchdog, which resets the machine.
func freezeInit(t *testing.T, s *service) {
	_, guest := s.whole(t)
	monitor := openMonitor(t, s.Pair, guest.Node)
	defer monitor.Close()
	events, err := monitor.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sh := s.shell(t, guest.Node)
	init := one(t, sh, 0, "beffroi", "init")
	frozen := time.Now()
	if err := sh.Send(fmt.Sprintf("kill -19 %d", init)); err != nil { // SIGSTOP, which the shell does not know by name
		t.Fatal(err)
	}
	seen, ctx := map[string]time.Duration{}, within(t, quietBound)
	for seen["WATCHDOG"] == 0 || seen["RESET"] == 0 {
		select {
		case e := <-events:
			seen[e.Event] = time.Since(frozen)
		case <-ctx.Done():
			t.Fatalf("the watchdog did not reset the machine; events: %v", seen)
		}
	}
	_, after := s.whole(t)
	if after.Count <= guest.Count {
		t.Errorf("the guest is at %d; it had printed %d", after.Count, guest.Count)
	}
	t.Logf("init stopped: the watchdog fired after %.1f s and the machine was reset; all is whole after %.1f s, the guest on %s at %d",
		seen["WATCHDOG"].Seconds(), time.Since(frozen).Seconds(), after.Node, after.Count)
	s.readBack(t)
}
