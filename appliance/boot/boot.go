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

// PIDFile tells the serial console whom to ask for an end: SIGTERM powers off, SIGUSR1
// reboots. Process 1 asks the same way, for Ctrl-Alt-Del or who signals it (cmd/pid1).
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
	_ = rootfs.MountAll(rootfs.Kernel()) // there is no place for a log before; the phase does it again, and tells
	release := ReadRelease("/etc/os-release")
	out := logTo("/run/beffroi/init.log", console)
	log := slog.New(slog.NewTextHandler(out, nil))
	s := newSystem(Dir, release, out, log, tasks)
	end := &ending{tasks: tasks, stop: func() {
		s.feeder.enter("end", leaving)
		cancel()
	}}
	end.onSignals()
	var seq *Sequence
	seq = NewSequence(release.Version, TableFile, console, retry, s.phases(func(context.Context) (string, error) {
		note, err := s.consoles(tasks, c)
		if err == nil {
			seq.Quiet()
		}
		return note, err
	}))
	seq.enter, s.armed = s.feeder.enter, seq.SetWatchdog
	tasks.Go("power button", func(ctx context.Context) error { return s.watchButton(ctx, func() { end.ask(PowerOff) }) })
	tasks.Go("trial", func(ctx context.Context) error { return s.watchTrial(ctx, seq, func() { end.ask(Reboot) }) })
	lingering := s.linger(ctx)
	err := seq.Run(ctx)
	if fault := lingering.Stop(stopBound); fault != nil {
		log.Error("the fences of init's former life", "cause", fault)
	}
	s.feeder.linger(false)
	if err == nil {
		end.orderly(func() { s.handOver(ctx, seq) })
		tasks.Go("clock", s.keepClock)
		s.keepServices(ctx, c, seq)
	}
	s.feeder.enter("end", leaving) // a boot that was ended has not done so yet
	return errors.Join(tasks.Stop(stopBound), halt(end.what(), s.feeder.disarm))
}

// phases is the table of a boot. What comes first needs nothing of what comes later: the
// watchdog guards all that may hang, the console shows what fails, and the image lies
// below /usr, where the kernel looks for firmware, before the drivers ask for it.
func (s *system) phases(console func(context.Context) (string, error)) []Phase {
	return []Phase{
		{Name: "mounts", Run: s.mounts, Within: quick, Must: true},
		{Name: "board", Run: s.identify, Within: quick},
		{Name: "watchdog", Run: s.arm, Within: quick},
		{Name: "console", Run: console, Within: quick},
		{Name: "userland", Run: s.mountUserland, Within: quick, Must: true},
		{Name: "modules", Run: s.loadModules, Within: probing},
		{Name: "disk", Run: s.disk, Within: disks, Must: true},
		{Name: "state", Run: s.mountState, Within: disks, Must: true},
		{Name: "identity", Run: s.identity, Within: disks, Must: true},
		{Name: "network", Run: s.network, Within: linking, Must: true},
		{Name: "clock", Run: s.setClock, Within: quick},
	}
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
