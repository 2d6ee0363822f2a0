package socket

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Peer is who is at the other end of a connection.
type Peer struct {
	PID  int // of the process that connected
	User int
}

// PeerOf asks the kernel who connected (SO_PEERCRED). It fails on what is no unix
// socket; whoever asks then knows nobody.
func PeerOf(c net.Conn) (Peer, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return Peer{}, errors.New("ask who connected: it does not come over a unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("ask who connected: %w", err)
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, inner); err != nil {
		return Peer{}, fmt.Errorf("ask who connected: %w", err)
	}
	return Peer{PID: int(cred.Pid), User: int(cred.Uid)}, nil
}
