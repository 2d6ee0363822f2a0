package town

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bind listens on the service address. Where the address is a loopback one (the
// lab in process mode), a node that was frozen still holds its own listening
// socket on it; the kernel then lets both listen and, by the one-instruction
// filter below, hands every new connection to the one that bound last. On real
// nodes nobody else has the address.
func bind(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	lc.SetMultipathTCP(false) // a multipath socket takes no filter
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("service address: %w", err)
	}
	if err := newestWins(l.(*net.TCPListener)); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("service address %s: %w", addr, err)
	}
	return l, nil
}

// newestWins makes the kernel choose socket 1 of those that share the address:
// the newer of two. With one socket alone the choice is out of range and falls
// back to that one.
func newestWins(l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	program := [1]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 1}}
	prog := unix.SockFprog{Len: 1, Filter: &program[0]}
	var serr error
	err = raw.Control(func(fd uintptr) {
		_, _, e := unix.Syscall6(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
			uintptr(unsafe.Pointer(&prog)), unsafe.Sizeof(prog), 0)
		if e != 0 {
			serr = e
		}
	})
	if err != nil {
		return err
	}
	return serr
}
