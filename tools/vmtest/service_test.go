package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/boot"
	"beffroi.dev/tools/filing"
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
		{"both are dead and start in the opposite order", oppositeOrder},
		{"the serving node sleeps for 30 seconds", sleeper},
		{"the five things to try", fiveThings},
		{"cables in wrong ports", wrongCables},
		{"a clock whose battery is dead", wrongClock},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, s) }) {
			t.Logf("state of the lab after %q: %+v", part.name, status(t, s.Pair))
			if _, err := s.Settled(t.Context(), quietBound); err != nil {
				t.Fatalf("the pair is not whole after %q: what follows would not count: %v", part.name, err)
			}
		}
	}
	t.Logf("%d reports acknowledged in all, each there once", s.readAll(t))
	t.Run("two nodes with one identity", func(t *testing.T) { twoOfOne(t, s) }) // ends the pair
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

// blink measures what the network of the lab and a patient client add to an outage,
// without any failover: the serving node's cable to the town is silent for a while
// and works again, while the node is vouched for over the fibres and keeps the address
// all the time. Whatever a filing waits beyond that while is not the product's: the
// client's own time limit of 3 s and pause, TCP's growing pauses between attempts to
// connect, and the forwards of the user-space network, which open a connection anew.
// A failover meets the same, after its own time.
func blink(t *testing.T, s *service) {
	serving, _ := s.whole(t)
	var added []time.Duration
	for _, silent := range []time.Duration{2, 3, 4, 5, 6, 7} {
		silent *= time.Second
		s.goOn(t, time.Now())
		begun := time.Now()
		do(t, s.Pair, "cut", "lan-"+serving)
		time.Sleep(silent - time.Since(begun))
		do(t, s.Pair, "heal", "lan-"+serving)
		was := time.Since(begun)
		s.goOn(t, begun.Add(was))
		added = append(added, max(filing.LongestGap(s.Taken(), begun)-was, 0))
	}
	if now, _ := s.whole(t); now != serving {
		t.Fatalf("%s serves instead of %s: this measured a failover", now, serving)
	}
	slices.Sort(added)
	t.Logf("the virtual network and the client add, without a failover, to an outage of 2 to 7 s: median %.2f s, at most %.2f s", added[len(added)/2].Seconds(), added[len(added)-1].Seconds())
}

// lose kills a node and waits until filings go on; it returns the longest wait.
func (s *service) lose(t *testing.T, node string) time.Duration {
	t.Helper()
	killed := time.Now()
	do(t, s.Pair, "kill", node)
	s.goOn(t, killed)
	return filing.LongestGap(s.Taken(), killed)
}

func fiveKills(t *testing.T, s *service) {
	var waits []time.Duration
	for round := 1; round <= 5; round++ {
		victim, before := s.whole(t)
		wait := s.lose(t, victim)
		waits = append(waits, wait)
		// A number that was printed was durable: the guest never counts below it again.
		after := s.beyond(t, before.Count)
		n := s.readBack(t)
		moved, err := s.Moved(t.Context(), rig.Twin(victim))
		if err != nil {
			t.Fatal(err)
		}
		do(t, s.Pair, "start", victim)
		started := time.Now()
		settled(t, s.Pair)
		now, err := s.Moved(t.Context(), rig.Twin(victim))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: killed %s, longest wait of a filing %.2f s; the guest on %s counted %d, then on %s %d; %d reports are there; back after %.1f s, resync %.1f MB",
			round, victim, wait.Seconds(), before.Node, before.Count, after.Node, after.Count, n, time.Since(started).Seconds(), float64(now-moved)/1e6)
	}
	slices.Sort(waits)
	t.Logf("longest wait of a filing: median %.2f s, worst %.2f s (profile emulated)", waits[2].Seconds(), waits[4].Seconds())
}

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
	monitor := s.monitor(t, guest.Node)
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

func witnessAndFibres(t *testing.T, s *service) {
	_, before := s.whole(t)
	do(t, s.Pair, "kill", "witness")
	do(t, s.Pair, "cut", "fibre1")
	do(t, s.Pair, "cut", "fibre2")
	begun := time.Now()
	s.goOn(t, begun)
	after := s.beyond(t, before.Count)
	t.Logf("longest wait of a filing %.2f s; the guest counted on to %d", filing.LongestGap(s.Taken(), begun).Seconds(), after.Count)
	s.readBack(t)
	do(t, s.Pair, "heal", "fibre1")
	do(t, s.Pair, "heal", "fibre2")
	do(t, s.Pair, "start", "witness")
	s.whole(t)
}

func nodeThenWitness(t *testing.T, s *service) {
	victim, before := s.whole(t)
	wait := s.lose(t, victim)
	after := s.beyond(t, before.Count)
	// Only when the survivor durably knows that it is the only one in sync may the
	// last other vote go.
	if _, err := s.Until(t.Context(), quietBound, "the survivor is alone in sync", func(st rig.Status) bool {
		return !slices.ContainsFunc(st.Volumes, func(v rig.Volume) bool { return v.State != "solo" })
	}); err != nil {
		t.Fatal(err)
	}
	do(t, s.Pair, "kill", "witness")
	alone := time.Now()
	s.goOn(t, alone)
	last := s.beyond(t, after.Count)
	t.Logf("%s dead: longest wait %.2f s; then the witness dead: %.2f s; the guest counted on to %d", victim, wait.Seconds(), filing.LongestGap(s.Taken(), alone).Seconds(), last.Count)
	s.readBack(t)
	do(t, s.Pair, "start", "witness")
	do(t, s.Pair, "start", victim)
	s.whole(t)
}

// oppositeOrder kills both, the serving one first, and starts the one that was killed
// first: it has not the newest data, says so on its serial line, and waits.
func oppositeOrder(t *testing.T, s *service) {
	first, before := s.whole(t)
	last := rig.Twin(first)
	s.lose(t, first)
	n := s.readBack(t)
	do(t, s.Pair, "kill", last)
	do(t, s.Pair, "start", first)
	line, err := s.Line(within(t, seenBound), first)
	if err != nil {
		t.Fatal(err)
	}
	screen, err := line.Await(within(t, bootBound), "Ce nœud ATTEND "+last)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the serial line of %s:\n%s", first, screen)
	do(t, s.Pair, "start", last)
	begun := time.Now()
	_, after := s.whole(t)
	if after.Count <= before.Count {
		t.Errorf("the guest is at %d; it had printed %d", after.Count, before.Count)
	}
	s.goOn(t, begun)
	t.Logf("whole %.1f s after the second start; %d reports of before are there, the guest counts at %d", time.Since(begun).Seconds(), n, after.Count)
	s.readBack(t)
}

func sleeper(t *testing.T, s *service) {
	serving, before := s.whole(t)
	begun := time.Now()
	do(t, s.Pair, "pause", serving)
	time.Sleep(30 * time.Second)
	do(t, s.Pair, "resume", serving)
	s.goOn(t, time.Now())
	wait := filing.LongestGap(s.Taken(), begun)
	_, after := s.whole(t)
	if after.Count <= before.Count {
		t.Errorf("the guest is at %d; it had printed %d", after.Count, before.Count)
	}
	t.Logf("%s slept for 30 s: longest wait of a filing %.2f s; whole after %.1f s; %d reports are there, the guest on %s at %d",
		serving, wait.Seconds(), time.Since(begun).Seconds(), s.readBack(t), after.Node, after.Count)
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

// wrongCables crosses the two fibres, then plugs one into the town's network: the
// console names the fault, the service goes on, and all is well once they are right.
func wrongCables(t *testing.T, s *service) {
	for _, c := range []struct {
		name  string
		plugs [][2]string // of b: its card, the cable
		want  string
	}{
		{"crossed", [][2]string{{"fibre1", "fibre2"}, {"fibre2", "fibre1"}}, "Les deux fibres sont croisées"},
		{"in the lan", [][2]string{{"fibre1", "lan"}}, "Une fibre et le réseau de la mairie se touchent"},
	} {
		s.whole(t)
		line, err := s.Line(within(t, seenBound), "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := line.Home(within(t, seenBound)); err != nil {
			t.Fatal(err)
		}
		speak(t, line, serial.French)
		begun := time.Now()
		for _, p := range c.plugs {
			do(t, s.Pair, "plug", "b", p[0], p[1])
		}
		screen := sees(t, line, c.want)
		s.goOn(t, time.Now())
		t.Logf("fibres %s, after %.1f s:\n%s", c.name, time.Since(begun).Seconds(), screen)
		for _, p := range c.plugs {
			do(t, s.Pair, "plug", "b", p[0], p[0])
		}
		sees(t, line, "TOUT VA BIEN")
	}
}

// wrongClock starts a node whose clock says 2001: it joins its pair all the same, and
// its boot says what was wrong.
func wrongClock(t *testing.T, s *service) {
	serving, _ := s.whole(t)
	node := rig.Twin(serving)
	do(t, s.Pair, "kill", node)
	do(t, s.Pair, "start", node, "--clock", "2001-01-01")
	s.whole(t)
	table, err := s.Table(within(t, seenBound), node)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(table.Phases, func(l boot.Line) bool { return l.Name == "clock" })
	if i < 0 || !strings.Contains(table.Phases[i].Note, "2001-01-01") {
		t.Errorf("the boot says nothing of the clock: %v", table.Phases)
	}
	api, err := s.API(node)
	if err != nil {
		t.Fatal(err)
	}
	st, err := api.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, whose clock said 2001, is part of the pair; it says %v, the host %v; its boot: %s", node, st.Time.UTC().Format(time.DateTime), time.Now().UTC().Format(time.DateTime), table.Phases[i])
}

// twoOfOne starts a copy of a's disk in b's place: both say who is there too, and what
// to do about it.
func twoOfOne(t *testing.T, s *service) {
	s.whole(t)
	do(t, s.Pair, "kill", "b")
	do(t, s.Pair, "kill", "a")
	if err := vmpair.CopyDisk(filepath.Join(s.Dir, "a", "disk.raw"), filepath.Join(s.Dir, "b", "disk.raw"), 0); err != nil {
		t.Fatal(err)
	}
	for _, n := range vmpair.Data {
		do(t, s.Pair, "start", n)
	}
	for _, n := range vmpair.Data {
		line, err := s.Line(within(t, seenBound), n)
		if err != nil {
			t.Fatal(err)
		}
		screen, err := line.Await(within(t, bootBound), "Une autre machine du réseau se présente comme ce nœud")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("in the place of %s:\n%s", n, screen)
	}
}
