package rescue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/operator"
)

const (
	// initLog is where init logs before there is a state folder, and after.
	initLog = "/run/beffroi/init.log"
	maxTail = 128 << 10
	maxHash = 1024
	// killAfter is how long a service may take to end by itself.
	killAfter = 10 * time.Second
)

// nodeActions are the Actions of a real node.
type nodeActions struct {
	Dir      config.Dir
	PIDFile  string // of init
	Reaper   int    // who ends a machine without an init: SIGUSR1 reboots, SIGUSR2 powers off; 0: nobody
	Shell    string
	Password string           // file with a hash
	Operator *operator.Client // nil: this machine has no init of ours
}

// Reboot asks init; it stops all services first.
func (a *nodeActions) Reboot(context.Context) error { return a.end(unix.SIGUSR1, unix.SIGUSR1) }

// PowerOff asks init; it stops all services first.
func (a *nodeActions) PowerOff(context.Context) error { return a.end(unix.SIGTERM, unix.SIGUSR2) }

// end asks init, or the reaper when there is none: this console may stand in for an init
// that cannot live.
func (a *nodeActions) end(init, reaper unix.Signal) error {
	if a.PIDFile == "" {
		return ErrUnavailable
	}
	err := signal(a.PIDFile, init)
	if a.Reaper != 0 && gone(err) {
		return unix.Kill(a.Reaper, reaper)
	}
	return err
}

// gone tells from the error of a signal to init whether there is none.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// signal signals init; 0 only looks whether it is there.
func signal(pidFile string, s unix.Signal) error {
	b, err := os.ReadFile(pidFile)
	if err != nil {
		return fmt.Errorf("init's process number: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 { // zero and less name groups of processes
		return fmt.Errorf("init's process number in %s: %q", pidFile, b)
	}
	return unix.Kill(pid, s)
}

// Ask asks init.
func (a *nodeActions) Ask(ctx context.Context, what operator.Ask) error {
	if a.Operator == nil {
		return ErrUnavailable
	}
	return a.Operator.Do(ctx, what)
}

// RestartService ends the service's process; its supervisor starts it again.
func (a *nodeActions) RestartService(ctx context.Context, name string) error {
	pids := a.find(name)
	if len(pids) == 0 {
		return ErrNotRunning
	}
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		for _, pid := range pids {
			if err := unix.Kill(pid, s); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
		}
		for until := time.Now().Add(killAfter); time.Now().Before(until) && len(pids) > 0; pause(ctx, 50*time.Millisecond) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			now := a.find(name)
			pids = slices.DeleteFunc(pids, func(pid int) bool { return !slices.Contains(now, pid) })
		}
		if len(pids) == 0 {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end", pids[0])
}

// find returns the processes of a service of this state folder: BINARY NAME --dir DIR.
func (a *nodeActions) find(name string) (all []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // only a bad pattern fails
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has just ended
		}
		argv := strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err == nil && len(argv) == 4 && argv[1] == name && argv[2] == "--dir" && filepath.Clean(argv[3]) == filepath.Clean(string(a.Dir)) {
			all = append(all, pid)
		}
	}
	return all
}

// CheckPassword compares with the hash; without one nothing is right.
func (a *nodeActions) CheckPassword(_ context.Context, password string) (bool, error) {
	hash, err := passwordHash(a.Password)
	if err != nil {
		return false, err
	}
	return api.VerifyPassword(hash, password), nil
}

// passwordHash reads the file of the shell's password.
func passwordHash(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNoPassword
	} else if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxHash))
	if err != nil {
		return "", err
	}
	if hash := strings.TrimSpace(string(b)); hash != "" {
		return hash, nil
	}
	return "", ErrNoPassword
}

// OpenShell runs the shell on the terminal until it ends.
func (a *nodeActions) OpenShell(ctx context.Context, tty io.ReadWriter) error {
	t, ok := tty.(*terminal)
	if !ok || a.Shell == "" {
		return ErrUnavailable
	}
	return t.shell(ctx, a.Shell, string(a.Dir))
}

// TailLog reads the end of a service's log.
func (a *nodeActions) TailLog(_ context.Context, service string, lines int) ([]string, error) {
	if service != filepath.Base(service) {
		return nil, fmt.Errorf("%q is not a service", service)
	}
	path := filepath.Join(string(a.Dir), "logs", service+".log")
	if service == "init" {
		path = initLog
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	from := max(0, end-maxTail)
	b, err := io.ReadAll(io.NewSectionReader(file, from, maxTail))
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(b), "\n")
	if text == "" {
		return nil, nil
	}
	all := strings.Split(text, "\n")
	if from > 0 {
		all = all[1:] // the first one was cut
	}
	return all[max(0, len(all)-lines):], nil
}
