package world

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// A seed counts when it has at least this much in it, and a change of primary.
const (
	MinOps    = 500
	MinFaults = 3
)

// Failure is a seed that broke a promise.
type Failure struct {
	Seed uint64
	Err  error
}

func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d: %v\nreplay: go run ./tools/simulate -from %d -seeds 1 -v", f.Seed, f.Err, f.Seed)
}

// Total sums up many seeds.
type Total struct {
	Seeds uint64
	Counts
	Wall time.Duration
}

// Many runs n seeds from the first on, on all processors, and returns what
// happened, and the lowest seed that failed. It stops soon after a failure.
func Many(from, n uint64, opt Options, progress func(done uint64)) (Total, *Failure) {
	begun := time.Now()
	var mu sync.Mutex
	next, total := from, Total{Counts: newCounts()}
	var failure *Failure
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	if opt.Verbose != nil {
		workers = 1
	}
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				seed := next
				next++
				stop := seed >= from+n || failure != nil
				mu.Unlock()
				if stop {
					return
				}
				one := opt
				one.Seed = seed
				c, _, err := New(one).Run()
				mu.Lock()
				total.Seeds++
				total.add(c)
				if err != nil && (failure == nil || seed < failure.Seed) {
					failure = &Failure{seed, err}
				}
				if progress != nil {
					progress(total.Seeds)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	total.Wall = time.Since(begun)
	return total, failure
}

func newCounts() Counts { return Counts{Faults: map[string]int{}, States: map[string]int{}} }

func (c *Counts) add(d Counts) {
	c.Ops += d.Ops
	c.Acked += d.Acked
	c.Unknown += d.Unknown
	c.Primaries += d.Primaries
	c.Events += d.Events
	c.SimTime += d.SimTime
	for k, v := range d.Faults {
		c.Faults[k] += v
	}
	for k, v := range d.States {
		c.States[k] += v
	}
}

// String is the table of a run.
func (t Total) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds in %.0f s: %d requests, %d acknowledged, %d with unknown outcome, %d changes of primary, %.1f hours simulated, %d events\n",
		t.Seeds, t.Wall.Seconds(), t.Ops, t.Acked, t.Unknown, t.Primaries, t.SimTime.Hours(), t.Events)
	for _, m := range []struct {
		name string
		m    map[string]int
	}{{"faults", t.Faults}, {"states and answers seen", t.States}} {
		fmt.Fprintf(&b, "%s:\n", m.name)
		for _, k := range slices.Sorted(maps.Keys(m.m)) {
			fmt.Fprintf(&b, "  %9d  %s\n", m.m[k], k)
		}
	}
	return b.String()
}
