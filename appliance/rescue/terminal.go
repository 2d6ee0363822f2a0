package rescue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// writeBound is how long a terminal that takes nothing is waited for.
const writeBound = 5 * time.Second

// terminal is a tty in raw mode. It opens itself again after a failure: a serial
// adapter may be pulled out, a pty may hang up.
type terminal struct {
	path string // empty: standard input, opened anew so that its flags stay alone
	own  bool   // it belongs to this program: what was set before does not matter

	mu     sync.Mutex // guards file and before
	file   *os.File
	before *unix.Termios
}

func newTerminal(path string) *terminal {
	if path == "" {
		return &terminal{path: "/proc/self/fd/0"}
	}
	return &terminal{path: path, own: true}
}

// open returns the file, in raw mode.
func (t *terminal) open() (*os.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		return t.file, nil
	}
	f, err := os.OpenFile(t.path, os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var now *unix.Termios
	if err := onDescriptor(f, func(fd int) (err error) { now, err = unix.IoctlGetTermios(fd, unix.TCGETS); return }); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s is no terminal: %w", t.path, err)
	}
	if t.before == nil {
		t.before = now
	}
	t.file = f
	if err := t.set(t.raw()); err != nil {
		t.close()
		return nil, err
	}
	return f, nil
}

// close forgets the file; t.mu is held.
func (t *terminal) close() {
	if t.file != nil {
		_ = t.file.Close()
		t.file = nil
	}
}

func onDescriptor(f *os.File, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(c.Control(func(fd uintptr) { inner = do(int(fd)) }), inner)
}

func (t *terminal) set(to *unix.Termios) error {
	return onDescriptor(t.file, func(fd int) error { return unix.IoctlSetTermios(fd, unix.TCSETS, to) })
}

// raw passes all bytes as they are, and ignores the modem lines: a console cable
// has three wires.
func (t *terminal) raw() *unix.Termios {
	c := *t.before
	c.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	c.Oflag &^= unix.OPOST
	c.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	c.Cflag &^= unix.CSIZE | unix.PARENB
	c.Cflag |= unix.CS8 | unix.CREAD | unix.CLOCAL
	t.line(&c)
	c.Cc[unix.VMIN], c.Cc[unix.VTIME] = 1, 0
	return &c
}

// line sets the speed of a serial line.
func (t *terminal) line(c *unix.Termios) {
	if strings.HasPrefix(filepath.Base(t.path), "ttyS") {
		c.Cflag = c.Cflag&^unix.CBAUD | unix.B115200
		c.Ispeed, c.Ospeed = unix.B115200, unix.B115200
	}
}

// cooked is what a shell expects.
func (t *terminal) cooked() *unix.Termios {
	c := *t.before
	if t.own {
		c.Iflag |= unix.ICRNL | unix.IUTF8
		c.Oflag |= unix.OPOST | unix.ONLCR
		c.Lflag |= unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ICANON | unix.ISIG | unix.IEXTEN
		c.Cflag |= unix.CS8 | unix.CREAD | unix.CLOCAL
		t.line(&c)
	}
	return &c
}

// Read waits for bytes, but not long: nothing and no error says that none came.
func (t *terminal) Read(b []byte) (int, error) {
	f, err := t.open()
	if err != nil {
		return 0, err
	}
	if err := f.SetReadDeadline(time.Now().Add(escapeAfter)); err != nil {
		return 0, t.failed(f, err)
	}
	n, err := f.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, nil
	}
	return n, t.failed(f, err)
}

func (t *terminal) Write(b []byte) (int, error) {
	f, err := t.open()
	if err != nil {
		return 0, err
	}
	_ = f.SetWriteDeadline(time.Now().Add(writeBound))
	n, err := f.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) { // flow control, or nobody reads: it stays open
		return n, err
	}
	return n, t.failed(f, err)
}

// failed closes what failed, unless that was done already.
func (t *terminal) failed(f *os.File, err error) error {
	if err == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == f {
		t.close()
	}
	return err
}

// Close gives the terminal back as it was.
func (t *terminal) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return nil
	}
	err := t.set(t.before)
	t.close()
	return err
}
