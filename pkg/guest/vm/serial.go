package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// serialLog bounds the file that QEMU appends the guest's serial output to. QEMU
// keeps it open, so it cannot be renamed away: past twice the size to keep, its
// end is copied to a second file and it is cut to nothing, which appending
// survives. What the guest says in between the two is lost.
type serialLog struct {
	path string
	past string // where its end goes
	keep int64
}

// bound is called now and then.
func (s serialLog) bound() error {
	st, err := os.Lstat(s.path)
	if errors.Is(err, os.ErrNotExist) || err == nil && st.Size() <= 2*s.keep {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bound serial log: %w", err)
	}
	b, err := readTail(s.path, s.keep)
	if err != nil {
		return fmt.Errorf("bound serial log: %w", err)
	}
	tmp := s.past + ".new"
	if err := os.WriteFile(tmp, b, 0o640); err != nil {
		return fmt.Errorf("bound serial log: %w", err)
	}
	if err := os.Rename(tmp, s.past); err != nil {
		return fmt.Errorf("bound serial log: %w", err)
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("bound serial log: %w", err)
	}
	if err := errors.Join(f.Truncate(0), f.Close()); err != nil {
		return fmt.Errorf("bound serial log: %w", err)
	}
	return nil
}

// tail returns the last keep bytes at most.
func (s serialLog) tail() ([]byte, error) {
	b, err := readTail(s.path, s.keep)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read serial log: %w", err)
	}
	if int64(len(b)) < s.keep {
		before, err := readTail(s.past, s.keep-int64(len(b)))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read serial log: %w", err)
		}
		b = append(before, b...)
	}
	return b, nil
}

// SerialTail returns the end of what the guest said on its serial line, at most
// Config.SerialKeep bytes. It outlives the guest.
func (v *VM) SerialTail() ([]byte, error) { return v.serial.tail() }

// DialSerial connects to the guest's serial line. QEMU serves one at a time; the
// caller must go on reading, or the guest waits for it.
func (v *VM) DialSerial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", v.dir.serial())
	if err != nil {
		return nil, fmt.Errorf("serial line of %s: %w", v.cfg.Name, err)
	}
	return nc, nil
}
