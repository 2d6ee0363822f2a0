package vmtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/boot"
	"beffroi.dev/tools/histories/rig"
)

// missingCard starts a node of which the card of the second fibre is dead: it serves by
// what it has, also alone, and its console says which card that is; all is well once the
// card is back.
func missingCard(t *testing.T, s *service) {
	serving, before := s.whole(t)
	node := rig.Twin(serving)
	do(t, s.Pair, "kill", node)
	do(t, s.Pair, "start", node, "--without", "fibre2")
	s.whole(t) // all is mirrored over the other fibre
	table, err := s.Table(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(table.Phases, func(l boot.Line) bool { return l.Name == "network" })
	if i < 0 || table.Phases[i].State != boot.Done || !strings.Contains(table.Phases[i].Note, "without a card: fibre2") {
		t.Errorf("the boot says nothing of the card: %+v", table.Phases)
	}
	screen := sees(t, s.french(t, node), "Une carte réseau a disparu", "fibre2")
	t.Logf("%s, without the card of fibre2, is part of the pair:\n%s", node, screen)

	do(t, s.Pair, "kill", serving)
	begun := time.Now()
	if _, err := s.Until(t.Context(), quietBound, node+" serves", func(st rig.Status) bool { return st.Citizen == node }); err != nil {
		t.Fatal(err)
	}
	s.goOn(t, begun)
	do(t, s.Pair, "start", serving)
	s.whole(t)

	do(t, s.Pair, "kill", node)
	do(t, s.Pair, "start", node)
	s.whole(t)
	s.beyond(t, before.Count)
	sees(t, s.french(t, node), "TOUT VA BIEN")
	s.readBack(t)
}
