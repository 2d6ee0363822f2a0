package vmtest

import (
	"slices"
	"testing"
	"time"

	"beffroi.dev/pkg/host/netcfg/serviceaddr"
	"beffroi.dev/tools/filing"
	"beffroi.dev/tools/histories/rig"
)

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
	s.goOn(t, time.Now()) // not before: until it is dead it may acknowledge
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

// isolated cuts every cable of the node that serves, and leaves it running: twin and
// witness go on, and it takes itself out of the way, unasked.
func isolated(t *testing.T, s *service) {
	node, before := s.whole(t)
	links := []string{"fibre1", "fibre2", "lan-" + node}
	begun := time.Now()
	for _, l := range links {
		do(t, s.Pair, "cut", l)
	}
	s.goOn(t, time.Now())
	after := s.beyond(t, before.Count)
	wait := filing.LongestGap(s.Taken(), begun)
	sh := s.shell(t, node)
	for limit := time.Now().Add(seenBound); ; time.Sleep(time.Second) {
		_, code, err := sh.Run(within(t, seenBound), "test -e /sys/class/net/"+serviceaddr.LinkName)
		if err != nil {
			t.Fatal(err)
		}
		living := len(pids(t, sh, "qemu-system-x86_64")) > 0
		if code != 0 && !living {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("%s, which nobody vouches for, holds the service address: %v; the guest's QEMU lives there: %v", node, code == 0, living)
		}
	}
	s.leave(t, sh)
	for _, l := range links {
		do(t, s.Pair, "heal", l)
	}
	s.whole(t)
	t.Logf("%s alone without a cable: longest wait of a filing %.2f s; the guest, on %s, counted on to %d on %s", node, wait.Seconds(), before.Node, after.Count, after.Node)
	s.readBack(t)
}

// allCut takes the witness and every path between the nodes: nobody may acknowledge
// anything, and nothing is lost when they meet again.
func allCut(t *testing.T, s *service) {
	node, before := s.whole(t)
	do(t, s.Pair, "kill", "witness")
	links := []string{"fibre1", "fibre2", "lan-" + rig.Twin(node)}
	for _, l := range links {
		do(t, s.Pair, "cut", l)
	}
	cut := time.Now()
	time.Sleep(20 * time.Second) // beyond every lease, and the guests' fence
	if n := s.Since(cut); n > 0 {
		t.Errorf("%d reports that were sent after the cut were acknowledged", n)
	}
	for _, l := range links {
		do(t, s.Pair, "heal", l)
	}
	s.goOn(t, time.Now())
	do(t, s.Pair, "start", "witness")
	_, after := s.whole(t)
	if after.Count <= before.Count {
		t.Errorf("the guest is at %d; it had printed %d", after.Count, before.Count)
	}
	t.Logf("longest wait of a filing, of a pair that was torn apart for 20 s: %.2f s", filing.LongestGap(s.Taken(), cut).Seconds())
	s.readBack(t)
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
