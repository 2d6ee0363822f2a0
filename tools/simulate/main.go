// Command simulate runs seeded histories of a whole cluster.
package main

import (
	"flag"
	"fmt"
	"os"

	"beffroi.dev/tools/simulate/world"
)

func main() {
	from := flag.Uint64("from", 1, "first seed")
	n := flag.Uint64("seeds", 100, "how many")
	v := flag.Bool("v", false, "print the trace")
	flag.Parse()
	for seed := *from; seed < *from+*n; seed++ {
		opt := world.Options{Seed: seed, Ops: 500, Faults: 3}
		if *v {
			opt.Verbose = os.Stdout
		}
		c, h, err := world.New(opt).Run()
		fmt.Printf("seed %d hash %016x events %d sim %v ops %d acked %d unknown %d primaries %d %v %v err %v\n", seed, h, c.Events, c.SimTime, c.Ops, c.Acked, c.Unknown, c.Primaries, c.Faults, c.States, err)
		if err != nil {
			os.Exit(1)
		}
	}
}
