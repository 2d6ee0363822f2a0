package socket

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/host/supervise"
)

// Names of the sockets that init hands over, beside those of unix sockets, which
// have the name of their file.
const (
	CitizenOwn     = "citizen-own"     // the citizen service's, at the node's address
	CitizenService = "citizen-service" // at the service address; quiet
	Console        = "console-https"
)

// Set are the handed sockets. A nil one has none.
type Set struct{ files map[string]*os.File }

// New takes the files that were handed over, whose names are those of the sockets.
func New(files []*os.File) *Set {
	s := &Set{files: map[string]*os.File{}}
	for _, f := range files {
		s.files[f.Name()] = f
	}
	return s
}

func (s *Set) file(name string) *os.File {
	if s == nil {
		return nil
	}
	return s.files[name]
}

// Unix is the unix socket of a name: handed, or bound at path for this user alone
// in place of one that a former life left behind.
func (s *Set) Unix(name, path string) (net.Listener, error) {
	if f := s.file(name); f != nil {
		return listener(f)
	}
	return Bind(path)
}

// TCP is the socket of a name: handed, or bound at the address.
func (s *Set) TCP(name, address string) (net.Listener, error) {
	if f := s.file(name); f != nil {
		return listener(f)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", name, err)
	}
	return l, nil
}

// Quiet is the quiet socket of a name; nil when none was handed.
func (s *Set) Quiet(name string) *Quiet {
	f := s.file(name)
	if f == nil {
		return nil
	}
	return &Quiet{f}
}

func listener(f *os.File) (net.Listener, error) {
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("socket %s, as handed over: %w", f.Name(), err)
	}
	return l, nil
}

// Bind binds a unix socket for this user alone.
func Bind(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

// Quiet is a socket that listens only while its owner may.
type Quiet struct{ file *os.File }

// backlog is how many connections may wait; the kernel lowers it to its own bound.
const backlog = 1 << 16

// Listen begins to listen, or takes over what a former life listened on.
func (q *Quiet) Listen() (net.Listener, error) {
	if err := q.do(func(fd int) error { return unix.Listen(fd, backlog) }); err != nil {
		return nil, fmt.Errorf("listen on socket %s: %w", q.file.Name(), err)
	}
	return listener(q.file)
}

// Silence ends it, whoever began: connections that wait are refused, and so are
// new ones. A socket that does not listen is left as it is.
func (q *Quiet) Silence() error { return supervise.Silence(q.file) }

func (q *Quiet) do(f func(fd int) error) error {
	raw, err := q.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}
