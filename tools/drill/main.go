// Command drill kills the serving node of a lab again and again while reports
// are filed and a guest counts, and says what the town noticed.
//
//	drill [--dir out/lab] [--rounds 20] [--bin bin] [--vm NAME] [--browser]
//
// Each round: file, kill the node that serves citizens, wait until filings are
// acknowledged again, read every report of the round back, power the node on,
// wait until everything is mirrored again. It prints the longest time between
// two acknowledged filings and the bytes that the resync moved. At the end an agent
// reads the whole list of reports: each is there once. Exit code 1 means
// that something acknowledged was lost, or that the pair did not come back.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"beffroi.dev/tools/filing"
	"beffroi.dev/tools/histories/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "drill:", err)
		os.Exit(1)
	}
}

// settled waits until every machine runs, every volume is mirrored, citizens are
// served and guests run.
func settled(ctx context.Context, r *rig.Rig, bound time.Duration) (rig.Status, error) {
	if _, err := r.Settled(ctx, bound); err != nil {
		return rig.Status{}, err
	}
	return r.Until(ctx, bound, "every guest runs", func(s rig.Status) bool {
		for _, v := range s.VMs {
			if v.State != "running" {
				return false
			}
		}
		return s.Citizen != ""
	})
}

func run(ctx context.Context) error {
	dir := flag.String("dir", "out/lab", "folder of the lab")
	bin := flag.String("bin", "bin", "folder of the programs")
	rounds := flag.Int("rounds", 20, "how many times the serving node is killed")
	pause := flag.Duration("pause", 50*time.Millisecond, "between two filings")
	vm := flag.String("vm", "", "a counter guest to watch")
	real := flag.Bool("browser", false, "file in a headless browser, with the page's script, and fail if the citizen sees an error")
	flag.Parse()
	r, err := rig.Open(*dir, *bin)
	if err != nil {
		return err
	}
	if _, err := settled(ctx, r, time.Minute); err != nil {
		return err
	}
	clerk, err := filing.Hire(ctx, r.Citizen, r.Enrol)
	if err != nil {
		return err
	}
	f := filing.New(r.Citizen)
	if *real {
		profile, err := os.MkdirTemp("", "drill-browser")
		if err != nil {
			return err
		}
		defer os.RemoveAll(profile)
		b, err := newBrowser(ctx, r.Citizen, profile)
		if err != nil {
			return err
		}
		defer b.stop()
		f.Send = b.file
	}
	fctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- f.Run(fctx, *pause) }()
	var gaps []time.Duration
	for round := 1; round <= *rounds; round++ {
		gap, err := oneRound(ctx, r, f, round, *vm, failed)
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		gaps = append(gaps, gap)
	}
	cancel()
	all := f.Taken()
	if err := f.Check(ctx, all); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	slices.Sort(gaps)
	listed, err := clerk.Audit(ctx, f)
	if err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	fmt.Printf("\n%d kills, %d reports acknowledged, all of them read back by their codes, each there once among the %d of the agents' list.\n", *rounds, len(all), listed)
	fmt.Printf("longest time between two acknowledged filings around a kill: median %.2f s, worst %.2f s\n", gaps[len(gaps)/2].Seconds(), gaps[len(gaps)-1].Seconds())
	fmt.Printf("and over all, the returns of the nodes included: %.2f s\n", filing.LongestGap(all, time.Time{}).Seconds())
	return nil
}

// oneRound kills the serving node once and brings it back.
func oneRound(ctx context.Context, r *rig.Rig, f *filing.Filer, round int, vm string, failed <-chan error) (time.Duration, error) {
	s, err := settled(ctx, r, 5*time.Minute)
	if err != nil {
		return 0, err
	}
	victim := s.Citizen
	var guest *counter
	if vm != "" {
		if guest, err = watch(ctx, r, vm); err != nil {
			return 0, err
		}
	}
	first := len(f.Taken())
	time.Sleep(500 * time.Millisecond)
	killed := time.Now()
	if _, err := r.Do("kill", victim); err != nil {
		return 0, err
	}
	for dead := time.Now(); f.Since(dead) < 3; { // before that the victim may acknowledge
		select {
		case err := <-failed:
			return 0, fmt.Errorf("filing: %w", err)
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(killed) > 2*time.Minute {
			return 0, errors.New("no filing was acknowledged for two minutes")
		}
	}
	time.Sleep(time.Second)
	gap := filing.LongestGap(f.Taken(), killed)
	if err := f.Check(ctx, f.Taken()[max(0, first-5):]); err != nil {
		return 0, err
	}
	report := ""
	if guest != nil {
		if report, err = guest.after(ctx); err != nil {
			return 0, err
		}
	}
	before, err := r.Moved(ctx, rig.Twin(victim))
	if err != nil {
		return 0, err
	}
	if _, err := r.Do("start", victim); err != nil {
		return 0, err
	}
	started := time.Now()
	if s, err = settled(ctx, r, 5*time.Minute); err != nil {
		return 0, err
	}
	now, err := r.Moved(ctx, rig.Twin(victim))
	if err != nil {
		return 0, err
	}
	var size int64
	for _, v := range s.Volumes {
		size += v.Size
	}
	fmt.Printf("round %2d: killed %s, longest wait %.2f s, %d reports so far%s; resync moved %.1f MB of %d MB in %.1f s\n",
		round, victim, gap.Seconds(), len(f.Taken()), report, float64(now-before)/1e6, size>>20, time.Since(started).Seconds())
	return gap, nil
}
