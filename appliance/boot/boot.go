package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/host/rootfs"
	"beffroi.dev/pkg/task"
)

const (
	// Dir is the state folder of an appliance's node.
	Dir config.Dir = statePath + "/node"
	// retry is the pause before a phase that must succeed is tried again.
	retry     = 2 * time.Second
	stopBound = 10 * time.Second
)

// PIDFile tells the serial console whom to ask for an end: SIGTERM powers off,
// SIGUSR1 and SIGINT (Ctrl-Alt-Del) reboot.
const PIDFile = "/run/beffroi/init.pid"

// TableFile is where the serial console reads the boot's table.
const TableFile = "/run/beffroi/boot.json"

// Config says what the image holds.
type Config struct {
	Binary string                    // of all services
	Has    func(service string) bool // the services that it knows
}

// Run is init on an appliance. It returns only when the machine cannot be ended.
func Run(ctx context.Context, c Config, console io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tasks := task.New(context.WithoutCancel(ctx))
	end := &ending{stop: cancel, tasks: tasks}
	end.onSignals()
	_ = rootfs.MountAll(rootfs.Kernel()) // there is no place for a log before; the phase does it again, and tells
	release := ReadRelease("/etc/os-release")
	out := logTo("/run/beffroi/init.log", console)
	log := slog.New(slog.NewTextHandler(out, nil))
	s := newSystem(Dir, release, out, log, tasks)
	must := func(name string, run func(context.Context) (string, error)) Phase {
		return Phase{Name: name, Run: run, Must: true}
	}
	var seq *Sequence
	seq = NewSequence(release.Version, TableFile, console, retry, []Phase{
		must("mounts", s.mounts),
		{Name: "board", Run: s.identify},
		{Name: "modules", Run: s.loadModules},
		{Name: "watchdog", Run: s.arm},
		{Name: "console", Run: func(context.Context) (string, error) {
			note, err := s.consoles(tasks, c)
			if err == nil {
				seq.Quiet()
			}
			return note, err
		}},
		must("userland", s.mountUserland),
		must("disk", s.disk),
		must("state", s.mountState),
		must("identity", s.identity),
		must("network", s.network),
		{Name: "clock", Run: s.setClock},
	})
	tasks.Go("power button", func(ctx context.Context) error { return s.watchButton(ctx, func() { end.ask(PowerOff) }) })
	if err := seq.Run(ctx); err == nil {
		end.orderly(func() { s.handOver(ctx, seq) })
		tasks.Go("trial", func(ctx context.Context) error { return s.watchTrial(ctx, seq, func() { end.ask(Reboot) }) })
		tasks.Go("clock", s.keepClock)
		s.keepServices(ctx, c, seq)
	}
	s.feeder.disarm()
	return errors.Join(tasks.Stop(stopBound), halt(end.what()))
}

// logTo opens init's log in memory, or falls back to the console.
func logTo(path string, console io.Writer) io.Writer {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return console
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return console
	}
	return f
}

// consoles starts the serial console on each terminal that is there, and keeps it.
func (s *system) consoles(tasks *task.Group, c Config) (string, error) {
	if err := os.WriteFile(PIDFile, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return "", fmt.Errorf("init's process number: %w", err)
	}
	tasks.Go("operator's socket", s.openDesk)
	var note string
	for _, tty := range s.board.Consoles {
		f, err := os.OpenFile(tty, os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		_ = f.Close()
		note += filepath.Base(tty) + " "
		tasks.Go("console "+tty, func(ctx context.Context) error { return keepConsole(ctx, c.Binary, tty, s.out, s.log) })
	}
	if note == "" {
		return "", errors.New("this machine has no terminal")
	}
	return note, nil
}

func keepConsole(ctx context.Context, binary, tty string, out io.Writer, log *slog.Logger) error {
	runtime.LockOSThread() // PDEATHSIG belongs to the thread that starts the child
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, binary, "rescue", "--dir", string(Dir), "--tty", tty)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
		cmd.Stderr = out
		if err := cmd.Run(); err != nil && ctx.Err() == nil {
			log.Warn("serial console ended; it is started again", "tty", tty, "cause", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}
