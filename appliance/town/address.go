package town

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// listen begins to answer on the service address: on the socket that init handed
// over, or on one of its own.
func (t *Town) listen(ctx context.Context) (net.Listener, error) {
	if t.quiet == nil {
		return bind(ctx, t.node.Citizen.Service)
	}
	l, err := t.quiet.Listen()
	if err != nil {
		return nil, err
	}
	if err := newestWins(l.(*net.TCPListener)); err != nil {
		return nil, errors.Join(fmt.Errorf("service address %s: %w", t.node.Citizen.Service, err), l.Close(), t.quiet.Silence())
	}
	return l, nil
}

// release ends that this node answers on the service address, also where a former
// life of this process did. A process that only ends does not call it: its next
// life answers those who wait meanwhile, and init's fence watches over that.
func (t *Town) release() {
	if t.quiet != nil {
		if err := t.quiet.Silence(); err != nil {
			t.log.Error("the service address is still listened on; init's fence will end it", "cause", err)
		}
	}
	if t.addr != nil {
		if err := t.addr.Drop(); err != nil {
			t.log.Error("the service address cannot be given back; init's fence will", "cause", err)
		}
	}
}

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
