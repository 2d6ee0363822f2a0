package vmtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/boot"
	"beffroi.dev/pkg/host/slots"
	"beffroi.dev/tools/histories/rig"
	"beffroi.dev/tools/serial"
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
	blessed(t, p, victim, "good")
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
	blessed(t, p, victim, "") // the loader counts no tries of it any more
	t.Logf("%s went down in order %.1f s after kill 1, and came back %.1f s after it; %d reports acknowledged, each there once",
		victim, down.Seconds(), time.Since(begun).Seconds(), c.readAll(t))
	t.Run("an init that cannot live", func(t *testing.T) { initCannotLive(t, p, c) })
}

// onESP lists the boot entries of a node.
const onESP = `mkdir -p /run/esp && mount -t vfat /dev/$(basename $(dirname $(grep -l PARTNAME=ESP /sys/class/block/*/uevent))) /run/esp && ls /run/esp/EFI/Linux; umount /run/esp`

// blessed checks what a boot says of its trial, which is nothing when there is none, and
// that its entry on the ESP has no counter.
func blessed(t *testing.T, p *vmpair.Pair, node, state string) {
	t.Helper()
	var got boot.Trial
	for limit := time.Now().Add(seenBound); ; time.Sleep(time.Second) { // it is looked at every 2 s
		table, err := p.Table(within(t, seenBound), node)
		if err != nil {
			t.Fatal(err)
		}
		if got = (boot.Trial{}); table.Trial != nil {
			got = *table.Trial
		}
		if got.State == state {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("the trial of %s's boot: %+v; want %q", node, got, state)
		}
	}
	sh, err := p.Shell(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := sh.Must(within(t, seenBound), onESP)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := slots.Parse(entries); err != nil || e.Trial {
		t.Errorf("the ESP of %s holds %q (%v); want one entry that is blessed", node, entries, err)
	}
	if err := sh.Leave(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
}

// noInit puts a program that ends at once in the place of all of Beffroi, which is one
// file, but for the console of the serial line.
const noInit = `cd /beffroi/bin && mv beffroi whole && printf '#!/beffroi/bin/gosh\ngrep -q ttyS0 /proc/$$/cmdline && exec /beffroi/bin/whole rescue --dir /state/node --tty /dev/ttyS0\nexit 3\n' > beffroi && chmod 755 beffroi`

// initCannotLive leaves process 1 alone on the serving node: the twin goes on with the
// town, and the serial console, which nobody but process 1 keeps, says so and reboots the
// machine before the watchdog does.
func initCannotLive(t *testing.T, p *vmpair.Pair, c *citizens) {
	node := settled(t, p)
	sh, err := p.Shell(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sh.Must(within(t, seenBound), noInit); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := sh.Send(fmt.Sprintf("kill -9 %d", one(t, sh, 0, "beffroi", "init"))); err != nil {
		t.Fatal(err)
	}
	line, err := p.Line(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	if err := line.Hear(within(t, seenBound), "init has ended (e"); err != nil { // with exit code 3; consoles that start meanwhile cut it off
		t.Fatal(err)
	}
	if _, err := line.Home(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	speak(t, line, serial.French)
	screen := sees(t, line, "init, ne tourne plus")
	t.Logf("%s has no init; after %.1f s its console says:\n%s", node, time.Since(begun).Seconds(), screen)
	choose(t, line, "Redémarrer ce nœud")
	sees(t, line, "Oui, redémarrer ce nœud")
	pick(t, line, "Oui, redémarrer ce nœud")
	if err := line.Hear(within(t, seenBound), "reboot: Restarting system"); err != nil { // which a watchdog does not say
		t.Fatal(err)
	}
	c.goOn(t, begun)
	settled(t, p)
	c.goOn(t, time.Now())
	t.Logf("%d reports acknowledged, each there once", c.readAll(t))
}
