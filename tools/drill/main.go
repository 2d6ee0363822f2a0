// Command drill kills the serving node of a lab again and again while reports
// are filed and a guest counts, and says what the town noticed.
//
//	drill [--dir out/lab] [--rounds 20] [--lab bin/lab] [--vm NAME] [--browser]
//
// Each round: file, kill the node that serves citizens, wait until filings are
// acknowledged again, read every report of the round back, power the node on,
// wait until everything is mirrored again. It prints the longest time between
// two acknowledged filings and the bytes that the resync moved. Exit code 1 means
// that something acknowledged was lost, or that the pair did not come back.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"beffroi.dev/tools/filing"
	"beffroi.dev/tools/lab/remote"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "drill:", err)
		os.Exit(1)
	}
}

// lab is what the drill needs of lab.json and lab status.
type lab struct {
	dir, binary string
	Citizen     string `json:"citizen_url"`
	TokenFile   string `json:"token_file"`
	Nodes       []struct {
		Name    string `json:"name"`
		API     string `json:"api_url"`
		Control string `json:"control_socket"`
		Guests  string `json:"guests_dir"`
	} `json:"nodes"`
}

type labStatus struct {
	Volumes []struct {
		Name  string `json:"name"`
		State string `json:"state"`
		Size  int64  `json:"size_bytes"`
	} `json:"volumes"`
	VMs []struct {
		Name  string `json:"name"`
		Node  string `json:"node"`
		State string `json:"state"`
	} `json:"vms"`
	Citizen string `json:"citizen_node"`
}

func open(dir, binary string) (*lab, error) {
	b, err := os.ReadFile(filepath.Join(dir, "lab.json"))
	if err != nil {
		return nil, fmt.Errorf("no lab (start one with: lab up): %w", err)
	}
	l := &lab{dir: dir, binary: binary}
	return l, json.Unmarshal(b, l)
}

func (l *lab) do(args ...string) ([]byte, error) {
	out, err := exec.Command(l.binary, append(args, "--dir", l.dir)...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("lab %v: %w", args, err)
	}
	return out, nil
}

func (l *lab) status() (labStatus, error) {
	var s labStatus
	out, err := l.do("status", "--json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// settled waits until every volume is mirrored and citizens are served.
func (l *lab) settled(ctx context.Context, bound time.Duration) (labStatus, error) {
	limit := time.Now().Add(bound)
	for {
		s, err := l.status()
		if err != nil {
			return s, err
		}
		ok := s.Citizen != ""
		for _, v := range s.Volumes {
			ok = ok && v.State == "mirrored"
		}
		for _, v := range s.VMs {
			ok = ok && v.State == "running"
		}
		if ok {
			return s, nil
		}
		if time.Now().After(limit) {
			return s, fmt.Errorf("the pair did not come back in %v: %+v", bound, s)
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// moved sums up what the nodes have copied to their twins since their services
// started. A node that does not answer has moved nothing that counts here.
func (l *lab) moved(ctx context.Context) (bytes uint64) {
	for _, n := range l.Nodes {
		if n.API == "" {
			continue
		}
		r, err := remote.New(n.API, l.TokenFile)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		if s, err := r.Status(ctx); err == nil && s.Store != nil {
			bytes += s.Store.Counters.ResyncBytes
		}
		cancel()
	}
	return bytes
}

func run(ctx context.Context) error {
	dir := flag.String("dir", "out/lab", "folder of the lab")
	binary := flag.String("lab", "bin/lab", "the lab's program")
	rounds := flag.Int("rounds", 20, "how many times the serving node is killed")
	pause := flag.Duration("pause", 50*time.Millisecond, "between two filings")
	vm := flag.String("vm", "", "a counter guest to watch")
	real := flag.Bool("browser", false, "file in a headless browser, with the page's script, and fail if the citizen sees an error")
	flag.Parse()
	l, err := open(*dir, *binary)
	if err != nil {
		return err
	}
	if _, err := l.settled(ctx, time.Minute); err != nil {
		return err
	}
	f := filing.New(l.Citizen)
	if *real {
		profile, err := os.MkdirTemp("", "drill-browser")
		if err != nil {
			return err
		}
		defer os.RemoveAll(profile)
		b, err := newBrowser(ctx, l.Citizen, profile)
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
		gap, err := oneRound(ctx, l, f, round, *vm, failed)
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
	fmt.Printf("\n%d kills, %d reports acknowledged and all of them read back, each under a code of its own.\n", *rounds, len(all))
	fmt.Printf("longest time between two acknowledged filings: median %.2f s, worst %.2f s\n", gaps[len(gaps)/2].Seconds(), gaps[len(gaps)-1].Seconds())
	return nil
}

// oneRound kills the serving node once and brings it back.
func oneRound(ctx context.Context, l *lab, f *filing.Filer, round int, vm string, failed <-chan error) (time.Duration, error) {
	s, err := l.settled(ctx, 5*time.Minute)
	if err != nil {
		return 0, err
	}
	victim := s.Citizen
	var guest *counter
	if vm != "" {
		if guest, err = l.watch(ctx, vm, s); err != nil {
			return 0, err
		}
	}
	first := len(f.Taken())
	time.Sleep(500 * time.Millisecond)
	killed := time.Now()
	if _, err := l.do("kill", victim); err != nil {
		return 0, err
	}
	for {
		if all := f.Taken(); len(all) > 3 && all[len(all)-3].At.After(killed) {
			break
		}
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
		if report, err = guest.after(ctx, l); err != nil {
			return 0, err
		}
	}
	before := l.moved(ctx)
	if _, err := l.do("start", victim); err != nil {
		return 0, err
	}
	started := time.Now()
	if s, err = l.settled(ctx, 5*time.Minute); err != nil {
		return 0, err
	}
	var size int64
	for _, v := range s.Volumes {
		size += v.Size
	}
	fmt.Printf("round %2d: killed %s, longest wait %.2f s, %d reports so far%s; resync moved %.1f MB of %d MB in %.1f s\n",
		round, victim, gap.Seconds(), len(f.Taken()), report, float64(l.moved(ctx)-before)/1e6, size>>20, time.Since(started).Seconds())
	return gap, nil
}
