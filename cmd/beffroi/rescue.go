package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"beffroi.dev/appliance/boot"
	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/rescue"
)

// shell is the rescue shell of the image.
const shell = "/beffroi/bin/sh"

// runRescue needs no configuration: it must show why there is none.
func runRescue(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("rescue", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir, tty := flags.String("dir", "", "state folder"), flags.String("tty", "", "terminal")
	if err := flags.Parse(args); err != nil || *dir == "" || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "beffroi: rescue wants --dir DIR [--tty PATH]")
		return exitUsage
	}
	path, err := filepath.Abs(*dir)
	if err != nil {
		fmt.Fprintf(stderr, "beffroi: state folder %s: %v\n", *dir, err)
		return exitUsage
	}
	c := rescue.Config{Dir: config.Dir(path), TTY: *tty}
	if config.Dir(path) == boot.Dir { // on an appliance
		c.Reaper = 1
		c.TableFile, c.PIDFile, c.Shell, c.Operator = boot.TableFile, boot.PIDFile, shell, operator.Socket
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	log := slog.New(slog.NewTextHandler(io.Discard, nil)) // the terminal is the screen's
	if *tty != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if err := rescue.RunService(ctx, c, log); err != nil {
		fmt.Fprintln(stderr, "beffroi: rescue:", err)
		return exitFailed
	}
	return exitStopped
}
