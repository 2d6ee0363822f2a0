package vmtest

import (
	"strings"
	"testing"
	"time"

	"beffroi.dev/tools/vmpair"
)

// A server that no board describes has the watchdog of its chipset, or of its controller;
// one that has neither says that the kernel's own stands in. (QEMU's older machine has no
// watchdog in its chipset.)
func TestTheWatchdogOfAnyServer(t *testing.T) {
	long(t)
	for _, tt := range []struct {
		name string
		more []string
		want []string // of the boot's table
	}{
		{"the chipset's", []string{"-smbios", "type=1,manufacturer=Mairie,product=Serveur"}, nil},
		{"that of a controller that speaks IPMI", []string{"-machine", "pc", "-device", "ipmi-bmc-sim,id=bmc", "-device", "isa-ipmi-kcs,bmc=bmc"}, nil},
		{"none", []string{"-machine", "pc"}, []string{"ÉCHEC, ignoré", "Pas de chien de garde matériel"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := alone(t, vmpair.Alone{Disk: image(t), NoWatchdog: true, More: tt.more})
			shows(t, m, firstScreen...)
			screen := bootMenu(t, m, append(tt.want, "Chien de garde")...)
			t.Log(screen)
			if len(tt.want) == 0 && strings.Contains(screen, "ÉCHEC") {
				t.Error("it was not found")
			}
			once(t, m)
		})
	}
}

// A disk that answers a few bytes a second holds the boot up: the watchdog is not fed any
// more when the phase's bound is over, the console says so, and the machine starts again.
// The next boot knows why the last one ended.
func TestABootThatHangsIsEnded(t *testing.T) {
	long(t)
	m := alone(t, vmpair.Alone{Disk: image(t)})
	if err := m.Line.Hear(within(t, bootBound), "process 1 is up"); err != nil {
		t.Fatal(err)
	}
	monitor, err := m.Monitor(within(t, seenBound))
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	slow := func(bytes int) {
		t.Helper()
		args := map[string]any{"device": "disk", "bps": bytes, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0}
		if _, err := monitor.Command(within(t, seenBound), "block_set_io_throttle", args); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	slow(2000)
	for _, words := range []string{"le chien de garde n'est plus nourri", "the watchdog is not fed, the machine will be reset: phase ", "Kernel panic"} {
		for limit := begun.Add(2 * bootBound); !strings.Contains(m.Said(), words); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("%q was not said", words)
			}
		}
		t.Logf("after %.0f s: %s", time.Since(begun).Seconds(), words)
	}
	slow(0) // 0 is at full speed
	shows(t, m, firstScreen...)
	t.Logf("at its first screen after %.0f s", time.Since(begun).Seconds())
	ctx := within(t, seenBound)
	if _, err := m.Line.Menu(ctx); err != nil {
		t.Fatal(err)
	}
	for _, entry := range []string{"Journaux des services", "init"} {
		if err := m.Line.Choose(ctx, entry); err != nil {
			t.Fatal(err)
		}
	}
	screen := shows(t, m, "the last kernel died")
	if words := strings.Join(strings.Fields(screen), " "); !strings.Contains(words, "the watchdog is not fed") { // lines are wrapped
		t.Errorf("the last kernel's words are not told:\n%s", screen)
	}
	t.Log(screen)
}
