package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is a listening socket of a service. It is opened once and outlives the
// service's lives: whoever connects between two of them waits for the next.
type Socket struct {
	Name    string // by which the service knows it: LISTEN_FDNAMES
	Network string // tcp or unix
	Address string // host:port, or a path

	// Quiet (tcp) is bound, and neither listens nor keeps others from binding the
	// same address: the service listens while it may, and a fence ends that.
	Quiet bool
	// Free (tcp) binds an address that the machine does not have, yet or now.
	Free bool
	// User and Group (unix) are who may connect, beside this user; 0: nobody.
	User, Group int
}

// Validate reports what is wrong.
func (k Socket) Validate() error {
	switch {
	case k.Name == "" || strings.ContainsAny(k.Name, ":=\n"):
		return fmt.Errorf("socket %q: its name cannot be handed over", k.Name)
	case k.Address == "" || k.Network != "tcp" && k.Network != "unix":
		return fmt.Errorf("socket %s: address %q of network %q", k.Name, k.Address, k.Network)
	}
	return nil
}

// Open opens a socket that belongs to no service.
func Open(k Socket) (*os.File, error) {
	h := held{socket: k}
	err := h.open()
	return h.file, err
}

// held is a socket as the supervisor keeps it; its loop owns it.
type held struct {
	socket Socket
	file   *os.File // nil: not open
}

// open opens the socket, if it is not.
func (h *held) open() error {
	if h.file != nil {
		return nil
	}
	var err error
	switch k := h.socket; {
	case k.Network == "unix":
		h.file, err = openUnix(k)
	case k.Quiet:
		h.file, err = bindQuiet(k)
	default:
		h.file, err = openTCP(k)
	}
	if err != nil {
		return fmt.Errorf("socket %s: %w", h.socket.Name, err)
	}
	return nil
}

func (h *held) close() {
	if h.file != nil {
		_ = h.file.Close() // nothing is lost with it
		h.file = nil
	}
}

// silence ends the listening of a quiet socket.
func (h *held) silence() error {
	if h.file == nil || !h.socket.Quiet {
		return nil
	}
	return Silence(h.file)
}

// Silence ends the listening of a TCP socket, in every process that has it, and
// resets each connection that waits in it. It stays bound, and can listen again. A
// socket that does not listen is left as it is.
//
// It is connect(2) to nobody. shutdown(2) would do for a socket that listens, but
// poisons one that does not: what it accepts later is at its end from the start.
func Silence(f *os.File) error {
	raw, err := f.SyscallConn() // Fd would make a service's copy block
	if err != nil {
		return fmt.Errorf("silence socket %s: %w", f.Name(), err)
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		nobody := unix.RawSockaddr{Family: unix.AF_UNSPEC}
		_, _, errno = unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&nobody)), unsafe.Sizeof(nobody))
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return fmt.Errorf("silence socket %s: %w", f.Name(), err)
	}
	return nil
}

func openUnix(k Socket) (*os.File, error) {
	if err := os.Remove(k.Address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: k.Address, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer l.Close() // the file is a copy
	if err := permit(k.Address, k.User, k.Group); err != nil {
		return nil, err
	}
	return l.File()
}

// permit lets a user and a group write to a socket's file; 0: nobody beside this
// process's own user.
func permit(path string, user, group int) error {
	mode := os.FileMode(0o600)
	if group != 0 {
		mode = 0o660
	}
	if user == 0 {
		user = os.Getuid()
	}
	if user != os.Getuid() || group != 0 {
		if err := os.Chown(path, user, group); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}

func openTCP(k Socket) (*os.File, error) {
	lc := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		if !k.Free {
			return nil
		}
		var err error
		if e := c.Control(func(fd uintptr) { err = freebind(int(fd), network == "tcp6") }); e != nil {
			return e
		}
		return err
	}}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", k.Address)
	if err != nil {
		return nil, err
	}
	defer l.Close() // the file is a copy
	return l.(*net.TCPListener).File()
}

func bindQuiet(k Socket) (*os.File, error) {
	a, err := netip.ParseAddrPort(k.Address)
	if err != nil {
		return nil, err
	}
	family, six := unix.AF_INET, a.Addr().Is6()
	if six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	if k.Free {
		err = errors.Join(err, freebind(fd, six))
	}
	if err == nil && six {
		err = unix.Bind(fd, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()})
	} else if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()})
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), k.Name), nil
}

func freebind(fd int, six bool) error {
	if six {
		return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
	}
	return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
}
