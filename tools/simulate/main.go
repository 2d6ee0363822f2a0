// Command simulate runs seeded histories of a whole cluster: two nodes and a
// witness with the real code of store, mirror and vote.
//
//	simulate [-from N] [-seeds N] [-ops N] [-faults N] [-v]
//
// It prints what happened by kind of fault and state, and stops at the first
// seed that breaks a promise; the seed alone replays it (-from SEED -seeds 1 -v
// prints its trace). Exit code 1 means a broken promise, 2 wrong usage.
package main

import (
	"flag"
	"fmt"
	"os"

	"beffroi.dev/tools/simulate/world"
)

func main() {
	from := flag.Uint64("from", 1, "first seed")
	n := flag.Uint64("seeds", 100, "how many seeds")
	ops := flag.Int("ops", world.MinOps, "requests of a seed, at least")
	faults := flag.Int("faults", world.MinFaults, "faults of a seed, at least")
	v := flag.Bool("v", false, "print the trace")
	flag.Parse()
	opt := world.Options{Ops: *ops, Faults: *faults}
	if *v {
		opt.Verbose = os.Stdout
	}
	total, failure := world.Many(*from, *n, opt, func(done uint64) {
		if !*v && done%100 == 0 {
			fmt.Fprintf(os.Stderr, "\r%d of %d seeds", done, *n)
		}
	})
	fmt.Println()
	fmt.Print(total)
	if failure != nil {
		fmt.Println(failure)
		os.Exit(1)
	}
}
