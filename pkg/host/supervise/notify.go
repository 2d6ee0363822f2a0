package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxNotice bounds one message of the sd_notify protocol.
const maxNotice = 4096

// Datagram is a message with the credentials that the kernel vouches for.
type Datagram struct {
	PID  int
	Data []byte
}

// ListenDatagrams binds a unix datagram socket for this user, and for a group
// unless that is 0, whose messages carry their sender's credentials.
func ListenDatagrams(path string, group int) (*net.UnixConn, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("datagram socket: %w", err)
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("datagram socket: %w", err)
	}
	err = permit(path, 0, group)
	if raw, e := c.SyscallConn(); e != nil {
		err = errors.Join(err, e)
	} else if e := raw.Control(func(fd uintptr) {
		err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
	}); e != nil {
		err = errors.Join(err, e)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("datagram socket: %w", err), c.Close())
	}
	return c, nil
}

// ReadDatagram returns the next message that a process of this user, of root or of
// one of the others sent; those of strangers, longer ones than the buffer, and those
// without credentials are skipped. The data is valid until the next call with the
// same buffer.
func ReadDatagram(c *net.UnixConn, buf []byte, others ...uint32) (Datagram, error) {
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(64))
	for {
		n, noob, flags, _, err := c.ReadMsgUnix(buf, oob)
		if err != nil {
			return Datagram{}, fmt.Errorf("read datagram: %w", err)
		}
		cred := credentials(oob[:noob])
		if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || cred == nil || cred.Uid != 0 && int(cred.Uid) != os.Getuid() && !slices.Contains(others, cred.Uid) {
			continue
		}
		return Datagram{PID: int(cred.Pid), Data: buf[:n]}, nil
	}
}

// credentials finds the sender, and closes files that nobody asked for.
func credentials(oob []byte) *unix.Ucred {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var cred *unix.Ucred
	for i := range msgs {
		if c, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
			cred = c
		}
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
	}
	return cred
}

// notice is what a service said.
type notice struct {
	pid    int
	events []Event
	status *string // nil: it said nothing of it
}

// parseNotice reads KEY=VALUE lines; keys that mean nothing here are skipped.
func parseNotice(d Datagram) notice {
	n := notice{pid: d.PID}
	for line := range strings.Lines(string(d.Data)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "READY=1":
			n.events = append(n.events, SaidReady)
		case line == "WATCHDOG=1":
			n.events = append(n.events, SaidAlive)
		case strings.HasPrefix(line, "EXTEND_TIMEOUT_USEC="): // how long is ours to say
			n.events = append(n.events, SaidBusy)
		case line == "STOPPING=1":
			n.events = append(n.events, SaidEnding)
		case strings.HasPrefix(line, "STATUS="):
			status := strings.ToValidUTF8(strings.TrimPrefix(line, "STATUS="), "?")
			n.status = &status
		}
	}
	return n
}

// hear hands what services say to the loop.
func (s *Supervisor) hear(ctx context.Context) error {
	buf := make([]byte, maxNotice)
	var users []uint32
	for _, sv := range s.cfg.Services {
		if sv.User != nil {
			users = append(users, sv.User.Uid)
		}
	}
	for {
		d, err := ReadDatagram(s.socket, buf, users...)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		select {
		case s.notices <- parseNotice(d):
		case <-ctx.Done():
			return nil
		}
	}
}
