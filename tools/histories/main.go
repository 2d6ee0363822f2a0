// Command histories torments a running lab while clients read and write blocks
// of one volume on both nodes, and checks that what they saw is what one disk
// could have shown.
//
//	histories [--dir out/lab] [--bin bin] [--seconds 60] [--seed N] [--clients 8] [--trace]
//
// It makes a group "probe" with one volume. Each client has one request
// outstanding on the nbd socket of its node; each block of 4096 bytes has one
// writer and is read by all. Faults come at random by the seed: nodes and the
// witness are killed, started, frozen and thawed, links are cut in both
// directions or one, the group is switched. At the end everything is healed,
// and every block is read through both nodes. The history of each block is
// checked by porcupine; a write whose outcome nobody knows may take effect at any
// later time.
//
// It prints counts per fault, the operations and the longest stall. Exit code 1
// means that the history is not that of one disk, or that the pair did not come
// back.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/tools/histories/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir := flag.String("dir", "out/lab", "folder of the lab")
	bin := flag.String("bin", "bin", "folder of the programs")
	o := options{}
	flag.IntVar(&o.seconds, "seconds", 60, "how long faults last")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64(), "of the faults and the load")
	flag.IntVar(&o.clients, "clients", 8, "half of them on each node; 2 to 64")
	flag.BoolVar(&o.trace, "trace", false, "print every fault with its time")
	flag.Parse()
	r, err := rig.Open(*dir, *bin)
	if err == nil {
		err = run(ctx, r, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "histories:", err)
		os.Exit(1)
	}
}

// options of a run.
type options struct {
	seconds int
	seed    uint64
	clients int
	trace   bool
}

const (
	groupName  = "probe"
	exportName = groupName + "/data"
	blocks     = 64
	// settleBound is how long the pair may take to heal at the end.
	settleBound = 2 * time.Minute
)

// run is one history, from the first block to the verdict.
func run(ctx context.Context, r *rig.Rig, o options, out io.Writer) error {
	if o.clients < 2 || o.clients > blocks || o.seconds < 1 {
		return fmt.Errorf("%d clients for %d seconds: use 2 to %d clients and at least 1 second", o.clients, o.seconds, blocks)
	}
	fmt.Fprintf(out, "seed %d, %d clients, %d blocks, %d s\n", o.seed, o.clients, blocks, o.seconds)
	if _, err := r.Settled(ctx, settleBound); err != nil {
		return err
	}
	if err := makeGroup(ctx, r); err != nil {
		return err
	}
	if _, err := r.Settled(ctx, settleBound); err != nil {
		return err
	}
	l := newLoad(r, o, slog.New(slog.DiscardHandler))
	if err := l.readAll(ctx, "a", l.begin); err != nil {
		return fmt.Errorf("before the load: %w", err)
	}
	l.start(ctx)
	f := newFaults(r, l, o.seed)
	err := f.run(ctx, time.Duration(o.seconds)*time.Second)
	if err == nil {
		_, err = r.Settled(ctx, settleBound)
	}
	stuck := l.stop()
	if o.trace || err != nil || stuck != nil {
		f.trace(out)
	}
	f.print(out)
	l.print(out)
	if err = errors.Join(err, stuck); err != nil {
		return fmt.Errorf("seed %d: %w", o.seed, errors.Join(err, l.history.Check()))
	}
	for _, node := range []string{"a", "b"} {
		if err := l.readAll(ctx, node, l.observe); err != nil {
			return fmt.Errorf("seed %d: after healing: %w", o.seed, err)
		}
	}
	if err := l.history.Check(); err != nil {
		f.trace(out)
		return fmt.Errorf("seed %d: %w", o.seed, err)
	}
	fmt.Fprintf(out, "every block was read through both nodes; all %d histories are those of one disk\n", blocks)
	return nil
}

// makeGroup makes the group, unless a former run has left it.
func makeGroup(ctx context.Context, r *rig.Rig) error {
	s, err := r.Status()
	if err != nil || s.Volume(exportName).Name != "" {
		return err
	}
	a := r.Node("a")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = control.NewClient(a.Control).Propose(ctx, &cluster.CreateGroup{
		Name: groupName, Preferred: a.ID, Durability: cluster.Strict,
		Volumes: []cluster.NewVolume{{Name: "data", SizeBytes: cluster.MinVolumeBytes}},
	})
	if err != nil {
		return fmt.Errorf("make group %s: %w", groupName, err)
	}
	_, err = r.Until(ctx, 10*time.Second, "the group is known", func(s rig.Status) bool {
		return slices.ContainsFunc(s.Volumes, func(v rig.Volume) bool { return v.Name == exportName })
	})
	return err
}
