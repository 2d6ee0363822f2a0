package lease_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/clock/simclock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
)

const (
	nodeA   = ident.Node(1)
	nodeB   = ident.Node(2)
	witness = ident.Node(3)
)

func TestTheProfilesHoldTheirRelations(t *testing.T) {
	for _, name := range []string{"production", "lab", "emulated"} {
		p, err := lease.Profile(name)
		if err != nil || p.Validate() != nil {
			t.Errorf("%s: %v, %v", name, err, p.Validate())
		}
	}
	if _, err := lease.Profile("hopeful"); err == nil || !strings.Contains(err.Error(), "production, lab or emulated") {
		t.Errorf("an unknown profile: %v; want what is allowed", err)
	}
	if p := lease.Production(); p.AddressDrop > 500*time.Millisecond {
		t.Errorf("production holds the address for %v; want at most 0.5 s", p.AddressDrop)
	}
}

func TestABrokenRelationIsNamed(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*lease.Timing)
		want  string
	}{
		{"grace shorter than the lease with drift", func(t *lease.Timing) { t.Grace = t.Lease; t.PathDead = t.Lease / 2 }, "R6"},
		{"grace shorter than path dead", func(t *lease.Timing) { t.PathDead = t.Grace }, "goes solo first"},
		{"an election after two heartbeats", func(t *lease.Timing) { t.ElectionTicks = 2 * t.HeartbeatTicks }, "three heartbeats"},
		{"a lease of two renewals", func(t *lease.Timing) { t.Renew = t.Lease / 2 }, "three renewals"},
		{"a fence shorter than a vote", func(t *lease.Timing) { t.Fence = t.LongestElection() }, "kill no guest"},
		{"no margin", func(t *lease.Timing) { t.Margin = time.Millisecond }, "margin"},
		{"a wild clock", func(t *lease.Timing) { t.Drift = 2 }, "drift"},
		{"no tick", func(t *lease.Timing) { t.Tick = 0 }, "tick"},
	} {
		p := lease.Production()
		tc.spoil(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v; want %q", tc.name, err, tc.want)
		}
	}
	if err := (lease.Timing{}).Validate(); strings.Count(err.Error(), "\n") < 5 {
		t.Errorf("an empty timing has one fault: %v; want all at once", err)
	}
}

func TestANodeIsVouchedForSinceItAskedNotSinceItHeard(t *testing.T) {
	r := lease.NewRounds(nodeA, []ident.Node{nodeA, nodeB, witness}, lease.NewGrants(0))
	if _, ok := r.Vouched(); ok {
		t.Error("vouched for before any answer")
	}
	n := r.Begin(100)
	if _, ok := r.Vouched(); ok {
		t.Error("one of three is a majority")
	}
	r.Answer(9, n, nil)
	r.Answer(nodeA, n, nil)
	if _, ok := r.Vouched(); ok {
		t.Error("a stranger, or the same voter twice, was counted")
	}
	r.Begin(200)
	r.Answer(witness, n, nil)
	if since, ok := r.Vouched(); !ok || since != 100 {
		t.Errorf("vouched since %d, %v; want 100", since, ok)
	}
}

func TestSilenceIsTheLeastThatAMajoritySays(t *testing.T) {
	second := clock.Instant(time.Second)
	own := lease.NewGrants(0)
	r := lease.NewRounds(nodeB, []ident.Node{nodeA, nodeB, witness}, own)
	n := r.Begin(10 * second)
	if got := r.Silence(nodeA, 10*second, time.Minute); got != 0 {
		t.Errorf("alone: silence %v; want 0", got)
	}
	r.Answer(witness, n, map[ident.Node]time.Duration{nodeA: 7 * time.Second})
	if got := r.Silence(nodeA, 10*second, time.Minute); got != 7*time.Second {
		t.Errorf("silence %v; want 7 s, what the witness says", got)
	}
	r.Answer(nodeA, n, map[ident.Node]time.Duration{})
	if got := r.Silence(nodeA, 10*second, time.Minute); got != 0 {
		t.Errorf("silence %v after its own answer; want 0", got)
	}
	n = r.Begin(20 * second)
	r.Answer(witness, n, map[ident.Node]time.Duration{nodeA: 17 * time.Second})
	if got := r.Silence(nodeA, 30*second, time.Second); got != 0 {
		t.Errorf("silence %v from an old answer; want 0", got)
	}
}

// TestWhoIsFoundSilentHasBeenFenced is the argument of the package comment,
// run: three machines with clocks of different speeds, messages that take
// random times or are lost. Whenever one data node is told that the other has
// been silent for MoveAfter, the other's fence had passed when that was told; and while one seeks promotion, the other does not read.
func TestWhoIsFoundSilentHasBeenFenced(t *testing.T) {
	moved, stopped := 0, 0
	for seed := range uint64(200) {
		w := newWorld(seed)
		for range 4000 {
			w.step()
			for _, who := range []ident.Node{nodeA, nodeB} {
				other := nodeA + nodeB - who
				silence := w.rounds[who].Silence(other, w.clocks[who].Now(), w.timing.AddressDrop)
				now := w.clocks[other].Now()
				if w.grants[who].Seek(other, w.clocks[who].Now(), w.timing.Grace) {
					if stopped++; w.reads(other, who, now) {
						t.Fatalf("seed %d: %v may read while %v seeks promotion", seed, other, who)
					}
					if w.rng.IntN(50) == 0 { // the proposal is settled
						w.grants[who].Release(other)
					}
				}
				// Since the answer, at most AddressDrop ago, the other may have been
				// vouched for again: that is what the generation is for. But at that
				// moment its fence had passed.
				if silence >= w.timing.MoveAfter() {
					if moved++; w.base.Now().Sub(w.passed[other]) > w.timing.AddressDrop+50*time.Millisecond {
						t.Fatalf("seed %d: %v found silent for %v and was not fenced", seed, other, silence)
					}
				}
			}
		}
	}
	if moved < 100 || stopped < 1000 {
		t.Errorf("%d and %d findings; too few to prove anything", moved, stopped)
	}
}

// reads reports whether n may read as the primary of a group that peer is in
// sync for.
func (w *world) reads(n, peer ident.Node, now clock.Instant) bool {
	until, _ := lease.ReadUntil(w.timing, cluster.Config{InSync: []ident.Node{n, peer}}, n, w.rounds[n].Answered)
	return now < until
}

type event struct {
	at clock.Instant
	f  func()
}

type world struct {
	rng    *rand.Rand
	base   *simclock.Clock
	timing lease.Timing
	clocks map[ident.Node]*simclock.Clock
	grants map[ident.Node]*lease.Grants
	rounds map[ident.Node]*lease.Rounds
	fences map[ident.Node]*lease.Fence
	passed map[ident.Node]clock.Instant // the world's time when its fence was last seen passed
	cut    map[[2]ident.Node]bool
	events []event
	steps  int
}

func newWorld(seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 3)), base: simclock.New(time.Time{}), timing: lease.Lab(), clocks: map[ident.Node]*simclock.Clock{},
		grants: map[ident.Node]*lease.Grants{}, rounds: map[ident.Node]*lease.Rounds{}, fences: map[ident.Node]*lease.Fence{}, passed: map[ident.Node]clock.Instant{}, cut: map[[2]ident.Node]bool{}}
	voters := []ident.Node{nodeA, nodeB, witness}
	for _, n := range voters {
		w.clocks[n] = w.base.Skewed(time.Duration(w.rng.Int64N(int64(time.Hour))), 1+(w.rng.Float64()-0.5)*w.timing.Drift*0.9)
		w.grants[n] = lease.NewGrants(w.clocks[n].Now())
		if n != witness {
			w.rounds[n] = lease.NewRounds(n, voters, w.grants[n])
			w.fences[n] = lease.NewFence(w.timing)
		}
	}
	return w
}

// step lets 10 ms pass, with a renewal of one node now and then.
func (w *world) step() {
	w.steps++
	if w.rng.IntN(150) == 0 {
		a, b := ident.Node(1+w.rng.IntN(3)), ident.Node(1+w.rng.IntN(3))
		w.cut[[2]ident.Node{a, b}] = w.rng.IntN(2) == 0
	}
	if w.rng.IntN(900) == 0 { // a node loses all its links, for long
		n := ident.Node(1 + w.rng.IntN(2))
		for _, m := range []ident.Node{1, 2, 3} {
			w.cut[[2]ident.Node{n, m}], w.cut[[2]ident.Node{m, n}] = true, true
		}
	}
	w.base.Advance(10 * time.Millisecond)
	for _, n := range []ident.Node{nodeA, nodeB} {
		if w.fences[n].Passed(w.clocks[n].Now()) {
			w.passed[n] = w.base.Now()
		}
		if w.steps%10 == int(n) {
			w.ask(n)
		}
	}
	due := w.events
	w.events = nil
	for _, e := range due {
		if e.at <= w.base.Now() {
			e.f()
		} else {
			w.events = append(w.events, e)
		}
	}
}

func (w *world) send(from, to ident.Node, f func()) {
	at := w.base.Now().Add(time.Duration(w.rng.Int64N(int64(300 * time.Millisecond))))
	if w.rng.IntN(10) > 0 {
		w.events = append(w.events, event{at, func() {
			if !w.cut[[2]ident.Node{from, to}] {
				f()
			}
		}})
	}
}

func (w *world) ask(n ident.Node) {
	number := w.rounds[n].Begin(w.clocks[n].Now())
	for _, v := range []ident.Node{1, 2, 3} {
		if v == n {
			continue
		}
		w.send(n, v, func() {
			now := w.clocks[v].Now()
			silences := map[ident.Node]time.Duration{}
			for _, o := range []ident.Node{1, 2, 3} {
				if o != v {
					silences[o] = w.grants[v].Silence(o, now)
				}
			}
			if !w.grants[v].Grant(n, now) {
				return
			}
			w.send(v, n, func() {
				w.rounds[n].Answer(v, number, silences)
				if since, ok := w.rounds[n].Vouched(); ok {
					w.fences[n].Renew(since)
				}
			})
		})
	}
}
