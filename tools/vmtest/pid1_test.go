package vmtest

import (
	"strings"
	"testing"
	"time"

	"beffroi.dev/tools/histories/rig"
	"beffroi.dev/tools/vmpair"
)

// inOrder is what process 1 says when it passes a wish on.
const inOrder = "init is asked to end this machine"

// Ctrl-Alt-Del on the keyboard of a machine reboots it in order, instead of at once.
func TestCtrlAltDel(t *testing.T) {
	long(t)
	m := alone(t, vmpair.Alone{Disk: image(t)})
	shows(t, m, firstScreen...)
	monitor, err := m.Monitor(within(t, seenBound))
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	var keys []map[string]string
	for _, k := range []string{"ctrl", "alt", "delete"} {
		keys = append(keys, map[string]string{"type": "qcode", "data": k})
	}
	if _, err := monitor.Command(within(t, seenBound), "send-key", map[string]any{"keys": keys}); err != nil {
		t.Fatal(err)
	}
	again(t, m)
}

// again waits until a machine was rebooted in order.
func again(t *testing.T, m *vmpair.Machine) {
	t.Helper()
	for limit := time.Now().Add(bootBound); strings.Count(m.Said(), "process 1 is up") < 2; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the machine was not rebooted")
		}
	}
	said := m.Said()
	if strings.Count(said, inOrder) != 1 || strings.Contains(said, "Kernel panic") {
		t.Error("it was not rebooted in order")
	}
	shows(t, m, firstScreen...)
}

// Who kills process 1 in the rescue shell reboots the node in order: the citizens of the
// serving node are handed over, and it comes back.
func TestKillingProcess1(t *testing.T) {
	long(t)
	p := pair(t)
	c := file(t, p)
	c.goOn(t, time.Now())
	victim := settled(t, p)
	sh, err := p.Shell(within(t, seenBound), victim)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sh.Must(within(t, seenBound), "kill -1 1"); err != nil { // SIGHUP, which means nothing
		t.Fatal(err)
	}
	begun := time.Now()
	if err := sh.Send("kill 1"); err != nil {
		t.Fatal(err)
	}
	line, err := p.Line(within(t, seenBound), victim)
	if err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{inOrder, "reboot: Restarting system"} { // the kernel's own words, as init ends
		if err := line.Hear(within(t, bootBound), said); err != nil {
			t.Fatal(err)
		}
	}
	down := time.Since(begun)
	heir := rig.Twin(victim)
	if _, err := p.Until(t.Context(), quietBound, heir+" serves", func(s rig.Status) bool { return s.Citizen == heir }); err != nil {
		t.Fatal(err)
	}
	c.goOn(t, time.Now())
	settled(t, p)
	t.Logf("%s went down in order %.1f s after kill 1, and came back %.1f s after it; %d reports acknowledged, each there once",
		victim, down.Seconds(), time.Since(begun).Seconds(), c.readAll(t))
}
