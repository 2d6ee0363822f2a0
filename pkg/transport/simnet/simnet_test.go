package simnet_test

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/transport"
	"beffroi.dev/pkg/transport/simnet"
	"beffroi.dev/pkg/transport/transporttest"
)

// agenda is the simplest Scheduler: a heap by time, then by order of asking.
type agenda struct {
	now   time.Duration
	count int
	items []item
}

type item struct {
	at time.Duration
	no int
	f  func()
}

func (a *agenda) Len() int { return len(a.items) }
func (a *agenda) Less(i, j int) bool {
	return a.items[i].at < a.items[j].at || a.items[i].at == a.items[j].at && a.items[i].no < a.items[j].no
}
func (a *agenda) Swap(i, j int) { a.items[i], a.items[j] = a.items[j], a.items[i] }
func (a *agenda) Push(x any)    { a.items = append(a.items, x.(item)) }
func (a *agenda) Pop() any {
	x := a.items[len(a.items)-1]
	a.items = a.items[:len(a.items)-1]
	return x
}

func (a *agenda) After(d time.Duration, f func()) {
	a.count++
	heap.Push(a, item{a.now + d, a.count, f})
}

func (a *agenda) step() bool {
	if len(a.items) == 0 {
		return false
	}
	x := heap.Pop(a).(item)
	a.now = x.at
	x.f()
	return true
}

func (a *agenda) run(d time.Duration) {
	for end := a.now + d; len(a.items) > 0 && a.items[0].at <= end; {
		a.step()
	}
}

type world struct {
	t   *testing.T
	net *simnet.Net
	a   *agenda
}

var fibre = simnet.Link{Delay: 100 * time.Microsecond, Jitter: 300 * time.Microsecond, Loss: 0.05, Duplicate: 0.05}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, a: &agenda{}}
	w.net = simnet.New(rand.New(rand.NewPCG(seed, 1)), w.a)
	w.net.Join(10, 11, transporttest.Path1, true, fibre)
	w.net.Join(10, 11, transporttest.Path2, true, fibre)
	return w
}

func (w *world) ID(end int) ident.Node { return ident.Node(10 + end) }
func (w *world) Start(end int, h transport.Handler) transport.Endpoint {
	return w.net.Start(w.ID(end), h)
}
func (w *world) Crash(end int)                  { w.net.Crash(w.ID(end)) }
func (w *world) Cut(from, to int, path string)  { w.net.Cut(w.ID(from), w.ID(to), path) }
func (w *world) Heal(from, to int, path string) { w.net.Heal(w.ID(from), w.ID(to), path) }
func (w *world) Await(what string, cond func() bool) {
	w.t.Helper()
	for range 100_000 {
		if cond() {
			return
		}
		w.a.step()
	}
	w.t.Fatalf("waited too long for %s", what)
}

func TestTheSimulatedNetworkConforms(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			transporttest.Run(t, func(t *testing.T) transporttest.World { return newWorld(t, seed) })
		})
	}
}

// storm runs a random history and returns a hash of all that was delivered.
func storm(t *testing.T, seed uint64) uint64 {
	w := newWorld(t, seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	sum := fnv.New64a()
	var logs [2]*transporttest.Log
	var ends [2]transport.Endpoint
	alive := [2]bool{}
	for step := range 3000 {
		i := rng.IntN(2)
		path := []string{transporttest.Path1, transporttest.Path2}[rng.IntN(2)]
		switch k := rng.IntN(200); {
		case !alive[i]:
			logs[i] = transporttest.NewLog(t, fmt.Sprintf("end %d", i))
			ends[i] = w.Start(i, logs[i])
			alive[i] = true
		case k == 0:
			w.Crash(i)
			alive[i] = false
		case k < 4:
			w.Cut(i, 1-i, path)
		case k < 10:
			w.Heal(i, 1-i, path)
		case k < 12:
			w.net.Freeze(w.ID(i))
		case k < 16:
			w.net.Thaw(w.ID(i))
		case k < 100:
			msg := []byte(fmt.Sprintf("%06d", step))
			ends[i].Send(w.ID(1-i), logs[i].Session(w.ID(1-i)), msg)
			ends[i].SendControl(w.ID(1-i), msg)
		default:
			w.a.run(time.Duration(rng.IntN(int(20 * time.Millisecond))))
		}
		if alive[i] {
			fmt.Fprintln(sum, step, w.a.now, logs[i].Received(), logs[i].Session(w.ID(1-i)))
		}
	}
	for i := range ends { // liveness: once all is mended, there is a session
		if !alive[i] {
			logs[i] = transporttest.NewLog(t, "last")
			w.Start(i, logs[i])
		}
		w.net.Thaw(w.ID(i))
		for _, p := range []string{transporttest.Path1, transporttest.Path2} {
			w.Heal(i, 1-i, p)
		}
	}
	w.Await("a session at the end", func() bool {
		return len(w.a.items) == 0 && logs[0].Session(11) != 0 && logs[1].Session(10) != 0
	})
	return sum.Sum64()
}

func TestOneSeedGivesOneHistory(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(100) {
		h := storm(t, seed)
		seen[h] = true
		if again := storm(t, seed); again != h {
			t.Fatalf("seed %d: hash %x, then %x", seed, h, again)
		}
		if t.Failed() {
			t.Fatalf("seed %d broke the contract", seed)
		}
	}
	if len(seen) < 95 {
		t.Errorf("100 seeds gave %d different histories", len(seen))
	}
}

func TestAThawedNodeHearsThePastBeforeItLearnsThatItIsOver(t *testing.T) {
	w := newWorld(t, 1)
	logs := [2]*transporttest.Log{transporttest.NewLog(t, "a"), transporttest.NewLog(t, "b")}
	a := w.Start(0, logs[0])
	w.Start(1, logs[1])
	w.Await("a session", func() bool { return logs[0].Session(11) != 0 && logs[1].Session(10) != 0 })
	old := logs[1].Session(10)
	w.net.Freeze(11)
	a.Send(11, logs[0].Session(11), []byte("zombie"))
	w.Await("the silence to be noticed", func() bool { return logs[0].Session(11) == 0 })
	if got := logs[1].Received(); got != 0 {
		t.Fatalf("the frozen node received %d messages", got)
	}
	w.net.Thaw(11)
	if got := logs[1].Of(old); len(got) != 1 || got[0] != "zombie" {
		t.Errorf("the thawed node received %q; want the message of its old session", got)
	}
	w.Await("a new session", func() bool { return logs[0].Session(11) != 0 && logs[1].Session(10) > old })
}

func TestNothingPassesBetweenEndsOfWhichOneDoesNotKnowTheOther(t *testing.T) {
	for _, tc := range []struct {
		name   string
		known  [2][]ident.Node
		passes bool
	}{
		{"everybody", [2][]ident.Node{}, true},
		{"each other", [2][]ident.Node{{11, 12}, {10}}, true},
		{"one is a stranger to the other", [2][]ident.Node{{12}, {10, 12}}, false},
		{"the same, the other way round", [2][]ident.Node{{11}, {12}}, false},
	} {
		w := newWorld(t, 1)
		logs := [2]*transporttest.Log{transporttest.NewLog(t, "a"), transporttest.NewLog(t, "b")}
		ends := [2]transport.Endpoint{w.net.Start(10, logs[0], tc.known[0]...), w.net.Start(11, logs[1], tc.known[1]...)}
		for i := range 20 { // some are lost
			ends[0].SendControl(11, fmt.Append(nil, i))
			ends[1].SendControl(10, fmt.Append(nil, i))
		}
		w.a.run(time.Second)
		for i, l := range logs {
			controls := 0
			for m := range 20 {
				controls += l.Heard(fmt.Sprint(m))
			}
			if session := l.Session(w.ID(1-i)) != 0; session != tc.passes || controls > 0 != tc.passes {
				t.Errorf("%s: end %d has a session: %v, and %d control messages; want some: %v", tc.name, i, session, controls, tc.passes)
			}
		}
	}
}
