package vmtest

import (
	"strings"
	"testing"
	"time"

	"beffroi.dev/tools/histories/rig"
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
	for _, n := range []string{"a", "b"} {
		if screen := cards(t, p, n); strings.Contains(screen, found) {
			t.Errorf("%s has found fibres that nobody moved:\n%s", n, screen)
		}
	}
	begun := time.Now()
	mends(t, p, c, "fibre2", "fibre1")
	t.Logf("followed %.1f s after they were crossed", time.Since(begun).Seconds())
	node := ""
	for _, n := range []string{"a", "b"} {
		if screen := cards(t, p, n); strings.Contains(screen, found) {
			node += n
			t.Logf("%s followed:\n%s", n, screen)
		}
	}
	if node != "a" && node != "b" {
		t.Fatalf("followed by %q; want one node", node)
	}

	do(t, p, "kill", node)
	if _, err := p.Until(t.Context(), quietBound, rig.Twin(node)+" serves", func(s rig.Status) bool { return s.Citizen == rig.Twin(node) }); err != nil {
		t.Fatal(err)
	}
	do(t, p, "start", node)
	settled(t, p)
	cards(t, p, node)
	c.goOn(t, time.Now())

	mends(t, p, c, "fibre1", "fibre2")
	t.Logf("%d reports acknowledged in all, each there once", c.readAll(t))
}

// found is what the console says of a fibre that was followed.
const found = "trouvée là, pas sur"

// mends plugs the cards of b's fibres into these cables, and waits until a console has
// named crossed fibres, until it has nothing more to say, and until all is mirrored;
// citizens are served all the time.
func mends(t *testing.T, p *vmpair.Pair, c *citizens, first, second string) {
	t.Helper()
	line, err := p.Line(within(t, seenBound), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := line.Home(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
	sees(t, line, "TOUT VA BIEN")
	do(t, p, "plug", "b", "fibre1", first)
	do(t, p, "plug", "b", "fibre2", second)
	t.Log(sees(t, line, "Les deux fibres sont croisées"))
	c.goOn(t, time.Now())
	if _, err := line.Await(within(t, quietBound), "TOUT VA BIEN"); err != nil {
		t.Fatal(err)
	}
	settled(t, p)
}

// cards is a node's network screen, once a fibre carries data.
func cards(t *testing.T, p *vmpair.Pair, node string) string {
	t.Helper()
	return sees(t, desk(t, p, node, "Réseau : ports"), "Cartes", "Fibre 2 :", "porte les données", "e Modifier")
}
