package vmtest

import (
	"testing"
	"time"

	"beffroi.dev/tools/serial"
	"beffroi.dev/tools/vmpair"
)

// TestFibresAreFollowed plugs the fibres of a node that serves into each other's cards
// and leaves them so: the console says it, and soon the fibres work where they are, also
// after a power cut; then they are put back, and all is as before.
func TestFibresAreFollowed(t *testing.T) {
	long(t)
	p := pair(t)
	c := file(t, p)
	c.goOn(t, time.Now())
	line := desk(t, p, "b", "Réseau")
	before := sees(t, line, "Fibre 1", "répond")
	t.Logf("before:\n%s", before)
	plugged := time.Now()
	cross(t, p, "fibre2", "fibre1")
	if _, err := line.Home(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	t.Logf("crossed:\n%s", sees(t, line, "Les deux fibres sont croisées"))
	c.goOn(t, time.Now())
	t.Logf("followed after %.1f s:\n%s", time.Since(plugged).Seconds(), healed(t, line))
	settled(t, p)
	choose(t, line, "Réseau")
	t.Logf("network:\n%s", sees(t, line, "trouvée là, pas sur", "porte les données"))

	do(t, p, "kill", "b")
	do(t, p, "start", "b")
	line = desk(t, p, "b", "Réseau")
	sees(t, line, "porte les données")
	settled(t, p)
	c.goOn(t, time.Now())

	cross(t, p, "fibre1", "fibre2")
	if _, err := line.Home(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	sees(t, line, "Les deux fibres sont croisées")
	healed(t, line)
	settled(t, p)
	c.goOn(t, time.Now())
	t.Logf("%d reports acknowledged in all, each there once", c.readAll(t))
}

// cross plugs the cards of b's fibres into these cables.
func cross(t *testing.T, p *vmpair.Pair, first, second string) {
	t.Helper()
	do(t, p, "plug", "b", "fibre1", first)
	do(t, p, "plug", "b", "fibre2", second)
}

// healed waits until the console has nothing to say.
func healed(t *testing.T, line *serial.Line) string {
	t.Helper()
	screen, err := line.Await(within(t, quietBound), "TOUT VA BIEN")
	if err != nil {
		t.Fatal(err)
	}
	return screen
}
