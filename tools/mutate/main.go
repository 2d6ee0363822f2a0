// Command mutate turns on each known wrong rule and looks whether the general
// checkers of the simulation catch it: a suite that cannot fail proves nothing.
//
// Each wrong rule stands behind a build tag (mutant_NAME). The table says after
// how many seeds it was caught, and by which promise. Exit code 1 means that one
// was not caught within the bound, or that the right rules failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// mutants are the wrong rules, with the rule that each breaks.
var mutants = []struct{ tag, rule string }{
	{"ack_before_durable", "R1: the twin acknowledges what it has received, not what is durable"},
	{"ack_solo_before_vote", "R3: the primary acknowledges alone as soon as it has asked the vote"},
	{"promote_outside", "R5: a replica outside the in-sync set is promoted"},
	{"clear_dirty_on_return", "R8: a returning twin is believed to be clean"},
	{"skip_grow_wait", "R4: the twin joins the set before it holds everything"},
	{"forget_discarded", "R8: the discarded tail does not join the resync set"},
	{"read_uncommitted", "reads show writes that are not committed"},
	{"accept_old_epoch", "R2: an older epoch is accepted"},
	{"read_without_lease", "R6: a primary of two reads without a lease"},
	{"serve_before_committed", "R5: a new primary serves before its tail is committed"},
	{"drop_unknown", "a state older than a group is taken for its deletion"},
	{"forget_incomplete", "R8: a full resync that was cut is taken for complete"},
	{"forget_copies", "R8: recovery discards what was copied, and had counted"},
	{"blank_by_difference", "R8: a newcomer's blank store is taken up to date by difference"},
	{"replace_in_sync", "R9: a lost node is replaced although it is in sync"},
	{"trust_cache", "R1: what recovery reads is taken for durable"},
	{"any_reign", "a user who slept while another node led is let in again"},
}

func main() {
	seeds := flag.Int("seeds", 1500, "bound within which each wrong rule must be caught")
	only := flag.String("only", "", "one mutant")
	flag.Parse()
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(2)
	}
	defer os.RemoveAll(dir)
	missed := 0
	fmt.Printf("%-24s %-8s %-7s %s\n", "wrong rule", "caught", "time", "by")
	for _, m := range mutants {
		if *only != "" && m.tag != *only {
			continue
		}
		begun := time.Now()
		seed, by, err := hunt(dir, m.tag, *seeds)
		switch {
		case err != nil:
			fmt.Printf("%-24s error: %v\n", m.tag, err)
			missed++
		case seed == "":
			fmt.Printf("%-24s NOT CAUGHT in %d seeds (%s)\n", m.tag, *seeds, m.rule)
			missed++
		default:
			fmt.Printf("%-24s seed %-4s %5.0f s %s\n", m.tag, seed, time.Since(begun).Seconds(), by)
		}
	}
	if missed > 0 {
		os.Exit(1)
	}
}

var failed = regexp.MustCompile(`(?m)^seed (\d+): (.*)$`)

// hunt runs seeds with one wrong rule until a promise breaks.
func hunt(dir, tag string, seeds int) (seed, by string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	bin := filepath.Join(dir, tag)
	build := exec.CommandContext(ctx, "go", "build", "-tags", "mutant_"+tag, "-o", bin, "./tools/simulate")
	if out, err := build.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("build: %w: %s", err, out)
	}
	out, err := exec.CommandContext(ctx, bin, "-seeds", fmt.Sprint(seeds)).Output()
	if err == nil {
		return "", "", nil
	}
	m := failed.FindSubmatch(out)
	if m == nil {
		return "", "", fmt.Errorf("run: %w: %.300s", err, out)
	}
	by, _, _ = strings.Cut(string(m[2]), ":")
	return string(m[1]), by, nil
}
