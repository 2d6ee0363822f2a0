package rescue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/rescue/screen"
)

// tooShort is what nobody can have used a shell for.
const tooShort = time.Second

// errShellEnded is the end of a shell that nobody could use.
var errShellEnded = errors.New("the shell ended at once")

// shell runs a program on the terminal until it ends.
func (t *terminal) shell(ctx context.Context, path, dir string) error {
	f, err := t.open()
	if err != nil {
		return err
	}
	t.mu.Lock()
	err = t.set(t.cooked())
	t.mu.Unlock()
	if err != nil {
		return t.failed(f, err)
	}
	// The shell's own opening blocks, as programs expect; ours does not.
	tty, err := os.OpenFile(t.path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	sized(tty)
	cmd := exec.CommandContext(ctx, path)
	cmd.Dir = folder(dir)
	// PWD says where it is without the kernel's help: that cannot name a folder on a
	// processor whose description contradicts itself, and a shell without one ends.
	cmd.Env = append(os.Environ(), "TERM=vt100", "HOME="+cmd.Dir, "PWD="+cmd.Dir)
	cmd.WaitDelay = stopBound
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	if t.own { // a session of its own with this controlling terminal: Ctrl-C works
		// It dies with this console: the next one would share its keys with it. That
		// signal belongs to the thread that starts the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0, Pdeathsig: syscall.SIGKILL}
	}
	begun := time.Now()
	err = cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		err = nil // how its last command ended is the reader's affair
		if time.Since(begun) < tooShort {
			err = fmt.Errorf("%w: %w", errShellEnded, ended)
		}
	}
	// The end of a session hangs its terminal up: it is opened again.
	t.mu.Lock()
	t.close()
	t.mu.Unlock()
	if _, again := t.open(); again != nil {
		err = errors.Join(err, again)
	}
	return err
}

// folder is where a shell begins: dir, or the root while that is not there yet.
func folder(dir string) string {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "/"
	}
	return dir
}

// sized gives a terminal that does not know its size, as no serial line does, that of
// the console's screen.
func sized(tty *os.File) {
	_ = onDescriptor(tty, func(fd int) error {
		w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err != nil || w.Row > 0 && w.Col > 0 {
			return err
		}
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: screen.Height, Col: screen.Width})
	}) // a shell without a size is a shell
}
