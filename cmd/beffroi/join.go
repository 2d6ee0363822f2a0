package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/pkg/quorum/cluster"
)

// joins reports whether a command line asks a witness to join a pair first.
func joins(args []string) bool {
	return len(args) > 0 && args[0] == "witness" && slices.ContainsFunc(args[1:], func(a string) bool { return a == "--join" || a == "-join" })
}

// runJoin makes a witness of an empty folder: it shows its code on the terminal,
// waits until a node has founded a pair with it, and then votes. A folder that
// belongs to a pair already votes at once, so the same command may stay in a unit
// file for ever.
func runJoin(args []string, out, stderr io.Writer) int {
	flags := flag.NewFlagSet("witness", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir := flags.String("dir", "", "state folder")
	_ = flags.Bool("join", false, "join a pair first")
	listen := flags.String("listen", fmt.Sprintf(":%d", pairing.Port), "where both nodes reach this witness: for pairing, then for votes")
	forget := flags.Bool("forget", false, "give up a founding that was prepared and whose founder never came back")
	if err := flags.Parse(args[1:]); err != nil || *dir == "" || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "beffroi: witness --join wants --dir DIR [--listen HOST:PORT] [--forget]")
		return exitUsage
	}
	path, err := filepath.Abs(*dir)
	if err != nil {
		fmt.Fprintf(stderr, "beffroi: state folder %s: %v\n", *dir, err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log := slog.New(slog.NewTextHandler(stderr, nil))
	e, err := pairing.New(pairing.Config{Dir: config.Dir(path), Kind: cluster.KindWitness, Listen: *listen, Shown: func(code string) {
		fmt.Fprintf(out, "\n  Code of this witness: %s\n\n  On the serial console of one of the two nodes choose \"Found the pair\" and type it.\n  This witness listens at %s.\n\n", code, *listen)
	}}, log)
	if err == nil && *forget {
		err = e.Forget()
	}
	if err == nil {
		if e.Status().Kept != "" {
			fmt.Fprintln(out, "A founding was prepared here; this witness waits for its founder's word. If that node never comes back: --forget.")
		}
		err = e.Run(ctx)
	}
	if errors.Is(err, context.Canceled) {
		return exitStopped
	}
	if err != nil {
		fmt.Fprintf(stderr, "beffroi: witness: %v\n", err)
		return exitFailed
	}
	stop()
	fmt.Fprintln(out, "This witness belongs to a pair, and votes.")
	return run(commands, []string{"witness", "--dir", path}, stderr)
}
