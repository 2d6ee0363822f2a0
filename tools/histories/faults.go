package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"beffroi.dev/tools/histories/rig"
)

// faults breaks the lab and mends it again, by its seed. At most maxFaults stand
// at one time.
type faults struct {
	rig    *rig.Rig
	load   *load
	rng    *rand.Rand
	counts map[string]int
	down   map[string]bool // machines that are off or frozen
	open   []fault
	events []string // what was done, and when
}

// fault is one that stands, and how it ends.
type fault struct {
	until time.Time
	heal  func() error
}

const maxFaults = 2

func newFaults(r *rig.Rig, l *load, seed uint64) *faults {
	return &faults{rig: r, load: l, rng: rand.New(rand.NewPCG(seed, 0)), counts: map[string]int{}, down: map[string]bool{}}
}

func (f *faults) between(low, high time.Duration) time.Duration {
	return low + time.Duration(f.rng.Int64N(int64(high-low)))
}

// run breaks and mends for a time, then mends everything.
func (f *faults) run(ctx context.Context, lasts time.Duration) error {
	end := time.Now().Add(lasts)
	next := time.Now().Add(500 * time.Millisecond)
	for time.Now().Before(end) {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), f.mend(true))
		case <-time.After(20 * time.Millisecond):
		}
		if err := f.mend(false); err != nil {
			return errors.Join(err, f.mend(true))
		}
		if time.Now().Before(next) || len(f.open) >= maxFaults {
			continue
		}
		if err := f.one(ctx); err != nil {
			return errors.Join(err, f.mend(true))
		}
		next = time.Now().Add(f.between(100*time.Millisecond, 1500*time.Millisecond))
	}
	return f.mend(true)
}

// mend ends the faults whose time has come, or all.
func (f *faults) mend(all bool) error {
	var errs []error
	f.open = slices.DeleteFunc(f.open, func(x fault) bool {
		if !all && time.Now().Before(x.until) {
			return false
		}
		errs = append(errs, x.heal())
		return true
	})
	return errors.Join(errs...)
}

func (f *faults) stand(low, high time.Duration, heal func() error) {
	f.open = append(f.open, fault{time.Now().Add(f.between(low, high)), heal})
}

// one makes one fault.
func (f *faults) one(ctx context.Context) error {
	node := []string{"a", "b", "witness"}[min(2, f.rng.IntN(5)/2)]
	switch k := f.rng.IntN(100); {
	case k < 20:
		return f.kill(node)
	case k < 38:
		return f.freeze(node)
	case k < 60:
		return f.cut([]string{"fibre1", "fibre2", "lan-a", "lan-b", "lan-w"}[f.rng.IntN(5)])
	case k < 72:
		return f.cut("fibre1", "fibre2")
	case k < 80:
		return f.cut([]string{"lan-a", "lan-b"}[f.rng.IntN(2)], "fibre1", "fibre2")
	}
	return f.planned(ctx)
}

func (f *faults) kill(node string) error {
	if f.down[node] {
		return nil
	}
	f.down[node] = true
	f.counts["kill "+node]++
	if err := f.do("kill", node); err != nil {
		return err
	}
	if p := f.load.nodes[node]; p != nil {
		p.off()
	}
	f.stand(200*time.Millisecond, 4*time.Second, func() error {
		delete(f.down, node)
		err := f.do("start", node)
		if p := f.load.nodes[node]; p != nil {
			p.on()
		}
		return err
	})
	return nil
}

func (f *faults) freeze(node string) error {
	if f.down[node] {
		return nil
	}
	f.down[node] = true
	f.counts["pause "+node]++
	if err := f.do("pause", node); err != nil {
		return err
	}
	f.stand(100*time.Millisecond, 5*time.Second, func() error {
		delete(f.down, node)
		return f.do("resume", node)
	})
	return nil
}

// cut cuts links in both directions, or what leaves one end.
func (f *faults) cut(links ...string) error {
	from, way := []string(nil), "cut "+fmt.Sprint(links)
	if f.rng.IntN(2) == 0 {
		side := []string{"a", "b"}[f.rng.IntN(2)]
		from, way = []string{"--from", side}, way+" from "+side
	}
	f.counts[way]++
	for _, l := range links {
		if err := f.do(append([]string{"cut", l}, from...)...); err != nil {
			return err
		}
	}
	f.stand(100*time.Millisecond, 5*time.Second, func() error {
		var errs []error
		for _, l := range links {
			errs = append(errs, f.do("heal", l))
		}
		return errors.Join(errs...)
	})
	return nil
}

// planned asks whoever leads the group to hand it to its twin.
func (f *faults) planned(ctx context.Context) error {
	s, err := f.rig.Status()
	if err != nil {
		return err
	}
	v := s.Volume(exportName)
	if v.Primary == "" || f.down[v.Primary] {
		return nil
	}
	group, err := f.rig.Group(ctx, v.Primary, groupName)
	if err != nil {
		f.counts["switch unanswered"]++
		return nil
	}
	switch err := f.rig.Switch(ctx, group, v.Primary, rig.Twin(v.Primary)); {
	case errors.Is(err, rig.ErrNotSwitched):
		f.counts["switch refused"]++
		f.note(err.Error())
	case err != nil:
		return err
	default:
		f.counts["switch"]++
		f.note("switch from " + v.Primary)
	}
	return nil
}

// do runs a verb of the lab and notes it.
func (f *faults) do(args ...string) error {
	f.note(fmt.Sprint(args))
	_, err := f.rig.Do(args...)
	return err
}

func (f *faults) note(what string) {
	f.events = append(f.events, fmt.Sprintf("%.2f %s", f.load.history.Now().Seconds(), what))
}

// trace lists everything that was done.
func (f *faults) trace(out io.Writer) {
	for _, e := range f.events {
		fmt.Fprintln(out, e)
	}
}

func (f *faults) print(out io.Writer) {
	fmt.Fprint(out, "faults:")
	printCounts(out, f.counts)
}

func printCounts(out io.Writer, counts map[string]int) {
	for i, k := range slices.Sorted(maps.Keys(counts)) {
		if i > 0 {
			fmt.Fprint(out, ",")
		}
		fmt.Fprintf(out, " %s %d", k, counts[k])
	}
	fmt.Fprintln(out)
}
