package vmtest

import (
	"os"
	"path/filepath"
	"testing"

	"beffroi.dev/tools/histories/rig"
	"beffroi.dev/tools/newcomer"
	"beffroi.dev/tools/serial"
	"beffroi.dev/tools/vmpair"
)

// service is a pair in service: citizens file, a guest counts.
type service struct {
	*vmpair.Pair
	*citizens
	guest *rig.Guest
}

// TestThePairInService holds what the whole pair promises, on one pair, in an order
// that leaves it whole each time. Each part is a test of its own.
func TestThePairInService(t *testing.T) {
	long(t)
	p := pair(t)
	g, err := p.CreateGuest(within(t, bootBound), "metronome")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{p, file(t, p), g}
	for _, part := range []struct {
		name string
		run  func(*testing.T, *service)
	}{
		{"what the virtual network adds", blink},
		{"five kills of the serving node", fiveKills},
		{"each service is killed", killServices},
		{"init is killed", killInit},
		{"init is frozen", freezeInit},
		{"the witness is dead and the fibres are cut", witnessAndFibres},
		{"a node is dead, then the witness", nodeThenWitness},
		{"the serving node is cut off from all", isolated},
		{"the witness is dead and all paths are cut", allCut},
		{"both are dead and start in the opposite order", oppositeOrder},
		{"the serving node sleeps for 30 seconds", sleeper},
		{"the five things to try", fiveThings},
		{"the kernel panics", kernelDies},
		{"the state partition is full", stateFull},
		{"a service fails again and again", serviceFails},
		{"a service panics", servicePanics},
		{"a service never gets ready", serviceHangs},
		{"the verbs of the lab", labVerbs},
		{"cables in wrong ports", wrongCables},
		{"a clock whose battery is dead", wrongClock},
		{"the card of a fibre is dead", missingCard},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, s) }) {
			t.Logf("state of the lab after %q: %+v", part.name, status(t, s.Pair))
			s.mend()
			if _, err := s.Settled(t.Context(), quietBound); err != nil {
				t.Fatalf("the pair is not whole after %q: what follows would not count: %v", part.name, err)
			}
		}
	}
	t.Logf("%d reports acknowledged in all, each there once", s.readAll(t))
	t.Run("two nodes with one identity", func(t *testing.T) { twoOfOne(t, s) }) // ends the pair
}

// mend undoes whatever a part that failed has left behind: each verb either helps or is
// refused.
func (s *service) mend() {
	for _, args := range [][]string{
		{"resume", "a"}, {"resume", "b"}, {"start", "witness"}, {"start", "a"}, {"start", "b"},
		{"heal", "fibre1"}, {"heal", "fibre2"}, {"heal", "lan-a"}, {"heal", "lan-b"},
		{"plug", "b", "fibre1", "fibre1"}, {"plug", "b", "fibre2", "fibre2"},
	} {
		_, _ = s.Do(args...)
	}
}

func status(t *testing.T, p *vmpair.Pair) rig.Status {
	t.Helper()
	s, err := p.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// whole waits until all is mirrored, citizens are served and the guest counts.
func (s *service) whole(t *testing.T) (serving string, guest rig.Sighting) {
	t.Helper()
	serving = settled(t, s.Pair)
	now, err := s.guest.See(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return serving, s.beyond(t, now.Count)
}

func (s *service) beyond(t *testing.T, n uint64) rig.Sighting {
	t.Helper()
	seen, err := s.guest.Beyond(within(t, quietBound), n)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func (s *service) shell(t *testing.T, node string) *serial.Shell {
	t.Helper()
	sh, err := s.Shell(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	return sh
}

func (s *service) leave(t *testing.T, sh *serial.Shell) {
	t.Helper()
	if err := sh.Leave(within(t, seenBound)); err != nil {
		t.Fatal(err)
	}
}

// fiveThings types what make run proposes. The list creates a second guest of the name
// that it gives; the one of the other parts has another name.
func fiveThings(t *testing.T, s *service) {
	s.whole(t)
	dir := t.TempDir()
	if err := os.Symlink(s.Bin, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "out", "counter.img")
	if err := os.Mkdir(filepath.Dir(image), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := vmpair.CopyDisk(filepath.Join(s.Dir, "counter.img"), image, 0); err != nil {
		t.Fatal(err)
	}
	if err := newcomer.Walk(t.Context(), newcomer.Config{Rig: s.Rig, Filer: s.Filer, Dir: dir, Within: quietBound, Say: t.Logf}); err != nil {
		t.Fatal(err)
	}
	s.whole(t)
	s.readBack(t)
}
