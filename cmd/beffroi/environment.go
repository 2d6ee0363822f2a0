package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/socket"
	"beffroi.dev/pkg/task"
)

// The exit codes.
const (
	exitStopped = 0
	exitFailed  = 1
	exitUsage   = 2
)

// startStep is how long a start that said that it makes progress may take to say so
// again.
const startStep = 30 * time.Second

// stopBound is how long the watchdog's goroutine may take to end.
const stopBound = time.Second

// environment is what every command is given.
type environment struct {
	ctx  context.Context // ends when the process is asked to stop
	dir  config.Dir      // absolute
	node *config.Node
	log  *slog.Logger
	// sockets that the parent handed over
	sockets *socket.Set
	has     func(command string) bool // of this program
}

// ready tells the parent; what the start was at is over.
func (e *environment) ready() { e.notify(daemon.SdNotifyReady + "\nSTATUS=") }

// busy tells the parent that the start takes longer, and what it is at. A stock systemd
// takes the time as it is said, from now on.
func (e *environment) busy(status string) {
	e.notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d\nSTATUS=%s", startStep.Microseconds(), status))
}

func (e *environment) notify(what string) {
	if _, err := daemon.SdNotify(false, what); err != nil {
		e.log.Warn("the parent cannot be told", "what", what, "cause", err)
	}
}

// run finds the command, prepares its environment and words its end.
func run(commands map[string]func(*environment) error, args []string, stderr io.Writer) int {
	usage := func(format string, a ...any) int {
		fmt.Fprintf(stderr, "beffroi: "+format+"\nuse: beffroi %s --dir DIR\n", append(a, strings.Join(slices.Sorted(maps.Keys(commands)), "|"))...)
		return exitUsage
	}
	if len(args) == 0 {
		return usage("no command")
	}
	name := args[0]
	command, ok := commands[name]
	if !ok {
		return usage("%q is not a command", name)
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir := flags.String("dir", "", "state folder")
	if err := flags.Parse(args[1:]); err != nil || *dir == "" || flags.NArg() > 0 {
		return usage("%s wants --dir and nothing else", name)
	}
	path, err := filepath.Abs(*dir)
	if err != nil {
		return usage("state folder %s: %v", *dir, err)
	}
	node, err := config.Load(config.Dir(path))
	if err != nil {
		fmt.Fprintf(stderr, "beffroi: %v\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	e := &environment{ctx: ctx, dir: config.Dir(path), node: node, log: slog.New(slog.NewTextHandler(stderr, nil))}
	e.sockets = socket.New(handed())
	e.has = func(name string) bool { return commands[name] != nil }
	if err := e.serve(command); err != nil {
		e.log.Error("stopped", "command", name, "cause", err)
		return exitFailed
	}
	return exitStopped
}

// handed takes the parent's sockets. Our own init cannot know the number of the
// process that it is about to start, and writes 0.
func handed() []*os.File {
	if os.Getenv("LISTEN_PID") == "0" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	return activation.Files(true)
}

// serve runs the command, and tells the parent that it lives and that it stops.
func (e *environment) serve(command func(*environment) error) error {
	tasks := task.New(e.ctx)
	if every, err := daemon.SdWatchdogEnabled(false); err == nil && every > 0 {
		tasks.Go("watchdog", func(ctx context.Context) error { return e.ping(ctx, every/3) })
	}
	tasks.Go("stopping", func(ctx context.Context) error {
		<-ctx.Done()
		e.notify(daemon.SdNotifyStopping)
		return nil
	})
	err := command(e)
	return errors.Join(err, tasks.Stop(stopBound))
}

func (e *environment) ping(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			e.notify(daemon.SdNotifyWatchdog)
		}
	}
}
