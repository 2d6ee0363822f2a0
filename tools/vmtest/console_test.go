package vmtest

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/host/layout"
	"beffroi.dev/tools/filing"
	"beffroi.dev/tools/histories/rig"
	"beffroi.dev/tools/serial"
	"beffroi.dev/tools/vmpair"
)

// TestWhatTheSerialConsoleDoes has each deed of the serial console done on a pair that
// serves, as somebody does who has nothing else: the citizens file all the time.
func TestWhatTheSerialConsoleDoes(t *testing.T) {
	long(t)
	p := pair(t)
	c := file(t, p)
	c.goOn(t, time.Now())
	for _, part := range []struct {
		name string
		do   func(*testing.T, *vmpair.Pair, *citizens)
	}{
		{"it restarts a service", restartsService},
		{"it tries a lan, which goes back by itself", triesLan},
		{"it changes the lan and changes it back", changesLan},
		{"it powers a node off", powersOff},
		{"the machine's power button, too", powerButton},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.do(t, p, c) }) {
			return
		}
		settled(t, p)
		c.goOn(t, time.Now())
	}
	t.Logf("%d reports acknowledged in all, each there once", c.readAll(t))
}

// desk is the serial console of a node, in French, at an entry of its menu.
func desk(t *testing.T, p *vmpair.Pair, node, entry string) *serial.Line {
	t.Helper()
	line, err := p.Line(within(t, bootBound), node)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := line.Home(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	speak(t, line, serial.French)
	choose(t, line, entry)
	return line
}

// choose opens the menu and takes an entry of it.
func choose(t *testing.T, line *serial.Line, entry string) {
	t.Helper()
	if _, err := line.Menu(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	pick(t, line, entry)
}

// pick takes an entry of the list that is shown.
func pick(t *testing.T, line *serial.Line, entry string) {
	t.Helper()
	if err := line.Choose(within(t, seenBound), entry); err != nil {
		t.Fatal(err)
	}
}

func restartsService(t *testing.T, p *vmpair.Pair, c *citizens) {
	node := settled(t, p)
	sh, err := p.Shell(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	old := one(t, sh, 0, "beffroi", "citizen")
	if err := sh.Leave(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	line := desk(t, p, node, "Relancer un service")
	pick(t, line, "citizen")
	sees(t, line, "Oui, relancer ce service")
	begun := time.Now()
	pick(t, line, "Oui, relancer ce service")
	t.Log(sees(t, line, "est arrêté ; le superviseur le relance"))
	c.goOn(t, begun)
	if sh, err = p.Shell(within(t, seenBound), node); err != nil {
		t.Fatal(err)
	}
	fresh := one(t, sh, old, "beffroi", "citizen")
	if err := sh.Leave(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	t.Logf("process %d became %d", old, fresh)
}

// otherLan types another address of the lan's into the form and starts its trial.
func otherLan(t *testing.T, line *serial.Line, address string) {
	t.Helper()
	answer(t, line, "e", "Adresse fixe/taille", "essayé pendant une minute")
	answer(t, line, "\x1b[B"+strings.Repeat("\x7f", 18)+address, address)
	answer(t, line, strings.Repeat("\r", 8), "Oui, essayer ce réseau", address)
	pick(t, line, "Oui, essayer ce réseau")
	t.Log(sees(t, line, "Réseau à l'essai", address))
}

// triesLan gives the standby an address under which nobody knows it, and says nothing.
func triesLan(t *testing.T, p *vmpair.Pair, c *citizens) {
	node := rig.Twin(settled(t, p))
	line := desk(t, p, node, "Réseau : ports")
	before := sees(t, line, "e Modifier", lanOf[node])
	begun := time.Now()
	otherLan(t, line, "10.75.0.77/24")
	c.goOn(t, begun) // by the serving node, which is there as ever
	if _, err := line.Await(within(t, quietBound), "le réseau d'avant est revenu"); err != nil {
		t.Fatal(err)
	}
	t.Logf("undone after %.1f s", time.Since(begun).Seconds())
	choose(t, line, "Réseau : ports")
	if after := sees(t, line, lanOf[node]); strings.Contains(after, "10.75.0.77") {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

var lanOf = map[string]string{"a": "10.75.0.1/24", "b": "10.75.0.2/24"}

// changesLan keeps another address, over a reboot; and the former one again.
func changesLan(t *testing.T, p *vmpair.Pair, c *citizens) {
	node := rig.Twin(settled(t, p))
	for _, address := range []string{"10.75.0.78/24", lanOf[node]} {
		line := desk(t, p, node, "Réseau : ports")
		otherLan(t, line, address)
		pick(t, line, "Garder ce réseau")
		sees(t, line, "Le réseau est enregistré.")
		choose(t, line, "Redémarrer ce nœud")
		sees(t, line, "Oui, redémarrer ce nœud")
		begun := time.Now()
		pick(t, line, "Oui, redémarrer ce nœud")
		if err := line.Hear(within(t, bootBound), "process 1 is up"); err != nil {
			t.Fatal(err)
		}
		// By the fibres, whatever address the lan has; the lab itself asks at the former one.
		if _, err := line.Await(within(t, bootBound), "deux copies à jour"); err != nil {
			t.Fatal(err)
		}
		line = desk(t, p, node, "Réseau : ports")
		t.Log(sees(t, line, address))
		t.Logf("whole %.1f s after the reboot was asked for", time.Since(begun).Seconds())
		c.goOn(t, time.Now())
	}
}

// powersOff ends the serving node in order: the citizens are handed over first.
func powersOff(t *testing.T, p *vmpair.Pair, c *citizens) {
	node := settled(t, p)
	line := desk(t, p, node, "Éteindre ce nœud")
	t.Log(sees(t, line, "RESTE ÉTEINT", "Oui, éteindre ce nœud"))
	goesOff(t, p, c, node, func() { pick(t, line, "Oui, éteindre ce nœud") })
}

// powerButton ends the serving node as who stands before it does, without a console.
func powerButton(t *testing.T, p *vmpair.Pair, c *citizens) {
	node := settled(t, p)
	m := openMonitor(t, p, node)
	defer m.Close()
	goesOff(t, p, c, node, func() {
		if _, err := m.Command(within(t, seenBound), "system_powerdown", nil); err != nil {
			t.Fatal(err)
		}
	})
}

// goesOff waits until a node that was asked to is off, in order: the power of a machine
// that was cut off says nothing of the kind. Then it starts it again.
func goesOff(t *testing.T, p *vmpair.Pair, c *citizens, node string, ask func()) {
	t.Helper()
	line, err := p.Line(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	ask()
	if err := line.Hear(within(t, quietBound), "reboot: Power down"); err != nil { // the kernel's own words
		t.Error(err)
	}
	if _, err := p.Until(t.Context(), quietBound, node+" is off", func(s rig.Status) bool {
		for _, n := range s.Nodes {
			if n.Name == node {
				return n.State == "off"
			}
		}
		return false
	}); err != nil {
		t.Fatal(err)
	}
	off := time.Since(begun)
	c.goOn(t, time.Now())
	do(t, p, "start", node)
	settled(t, p)
	t.Logf("%s was off after %.1f s; the longest wait of a filing was %.2f s", node, off.Seconds(), filing.LongestGap(c.Taken(), begun).Seconds())
}

// A machine whose volume disk holds something foreign is not founded; its console erases
// it, once the word is typed, and it starts again as new.
func TestTheConsoleErasesAMachine(t *testing.T) {
	long(t)
	file := disk(t, image(t), 0)
	put(t, file, part(t, file, layout.TypeStore).Offset(), bytes.Repeat([]byte("somebody's accounts "), 1<<12))
	m := alone(t, vmpair.Alone{Disk: file})
	t.Log(shows(t, m, append(firstScreen, "contient déjà autre chose")...))
	choose(t, m.Line, "Effacer cette machine")
	sees(t, m.Line, "Tapez EFFACER")
	answer(t, m.Line, "effacé\r", "Ce n'est pas le mot ; rien n'est effacé.")
	if err := m.Line.Press("\x7fer\r"); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(bootBound); strings.Count(m.Said(), "process 1 is up") < 2; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the machine did not start again")
		}
	}
	if screen := shows(t, m, firstScreen...); strings.Contains(screen, "contient déjà") {
		t.Errorf("it still holds something:\n%s", screen)
	}
}
