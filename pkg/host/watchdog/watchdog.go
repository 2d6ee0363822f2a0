// Package watchdog holds the machine's hardware watchdog: a timer that resets the
// machine unless it is fed.
//
// A Watchdog is armed when it is opened. Feed feeds it while a condition holds,
// and stops feeding when it does not: the hardware does the rest. It is disarmed
// by Disarm only, before an orderly power-off; a process that dies leaves it
// armed. Linux describes the device in Documentation/watchdog/watchdog-api.rst.
//
// Where there is no hardware the kernel may lend a timer of its own. It ends a machine
// whose programs hang, but not one whose kernel or processor does: Software tells it.
package watchdog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Config says which device, and how patient it is.
type Config struct {
	Path    string        // /dev/watchdog
	Timeout time.Duration // whole seconds, 2 s to 10 min
}

// Validate reports all faults.
func (c Config) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("no device"))
	}
	if c.Timeout < 2*time.Second || c.Timeout > 10*time.Minute || c.Timeout%time.Second != 0 {
		errs = append(errs, fmt.Errorf("timeout %v: want whole seconds from 2 s to 10 min", c.Timeout))
	}
	return errors.Join(errs...)
}

// Watchdog is an armed one.
type Watchdog struct {
	f       *os.File
	Driver  string        // as it names itself
	Timeout time.Duration // what the hardware took, which may differ from what was asked
}

// ErrNone is returned when the machine has no watchdog device.
var ErrNone = errors.New("this machine has no hardware watchdog, or its driver is missing")

// ErrSoftware is what to say of a watchdog that is armed, and is the kernel's own.
var ErrSoftware = errors.New("this machine has no hardware watchdog, or its driver is missing; the kernel's own timer is armed in its place, " +
	"which restarts a machine whose programs hang, but not one whose kernel or processor does")

// Software tells from a driver's name whether it is the kernel's own timer.
func Software(driver string) bool { return driver == "Software Watchdog" }

// Open arms the watchdog.
func Open(c Config) (*Watchdog, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("watchdog configuration: %w", err)
	}
	f, err := os.OpenFile(c.Path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", c.Path, ErrNone)
	}
	if err != nil {
		return nil, fmt.Errorf("open watchdog: %w", err)
	}
	w := &Watchdog{f: f, Timeout: c.Timeout}
	seconds := int32(c.Timeout / time.Second)
	if err := w.ioctl(unix.WDIOC_SETTIMEOUT, unsafe.Pointer(&seconds)); err == nil && seconds > 0 {
		w.Timeout = time.Duration(seconds) * time.Second
	} else if err := w.ioctl(unix.WDIOC_GETTIMEOUT, unsafe.Pointer(&seconds)); err == nil && seconds > 0 {
		w.Timeout = time.Duration(seconds) * time.Second // it has one speed only
	}
	var info struct {
		Options, Version uint32
		Identity         [32]byte
	}
	if err := w.ioctl(unix.WDIOC_GETSUPPORT, unsafe.Pointer(&info)); err == nil {
		w.Driver = unix.ByteSliceToString(info.Identity[:])
	}
	return w, nil
}

func (w *Watchdog) ioctl(request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, w.f.Fd(), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// Feed feeds the watchdog a few times in each timeout for as long as good says
// so, until ctx ends. It never disarms: a node whose conditions no longer hold, or
// whose init is gone, must be reset. good is called on this goroutine and must
// not block.
func (w *Watchdog) Feed(ctx context.Context, good func() bool) error {
	tick := time.NewTicker(w.Timeout / 5)
	defer tick.Stop()
	for {
		if good() {
			if _, err := w.f.Write([]byte{0}); err != nil {
				return fmt.Errorf("feed the watchdog: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Disarm stops the timer, where the hardware can, and closes the device.
func (w *Watchdog) Disarm() error {
	_, err := w.f.Write([]byte("V")) // the magic close character of the kernel's interface
	return errors.Join(err, w.f.Close())
}
