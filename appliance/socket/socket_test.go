package socket_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/appliance/socket"
	"beffroi.dev/pkg/host/supervise"
)

func handed(t *testing.T, list ...supervise.Socket) *socket.Set {
	t.Helper()
	var files []*os.File
	for _, k := range list {
		f, err := supervise.Open(k)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		files = append(files, os.NewFile(dup(t, f), k.Name))
	}
	return socket.New(files)
}

func dup(t *testing.T, f *os.File) uintptr {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return uintptr(fd)
}

func free(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers serves one connection.
func answers(t *testing.T, l net.Listener, network, address string) {
	t.Helper()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(c, io.LimitReader(c, 1))
			_ = c.Close()
		}
	}()
	c, err := net.DialTimeout(network, address, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = c.Write([]byte("?"))
	if b, err := io.ReadAll(c); err != nil || string(b) != "?" {
		t.Errorf("answer %q, %v", b, err)
	}
}

func TestASocketIsHandedOrBound(t *testing.T) {
	dir := t.TempDir()
	path, tcp := filepath.Join(dir, "s"), free(t)
	set := handed(t, supervise.Socket{Name: "s", Network: "unix", Address: path}, supervise.Socket{Name: "t", Network: "tcp", Address: tcp})
	for _, s := range []*socket.Set{set, nil, socket.New(nil)} {
		for range 2 { // a service may close it and take it again
			l, err := s.Unix("s", path)
			if err != nil {
				t.Fatal(err)
			}
			answers(t, l, "unix", path)
			if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v; want it for this user alone", st, err)
			}
			_ = l.Close()
		}
	}
	l, err := set.TCP("t", "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	answers(t, l, "tcp", tcp)
	_ = l.Close()
	if l, err = set.TCP("other", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	answers(t, l, "tcp", l.Addr().String())
	_ = l.Close()
}

func TestAQuietSocketIsSilencedAndListensAgain(t *testing.T) {
	tcp := free(t)
	q := handed(t, supervise.Socket{Name: "q", Network: "tcp", Address: tcp, Quiet: true}).Quiet("q")
	refused := func(when string) {
		t.Helper()
		if c, err := net.DialTimeout("tcp", tcp, 20*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, %v; want refused", when, c, err)
		}
	}
	refused("handed over")
	for range 3 {
		l, err := q.Listen()
		if err != nil {
			t.Fatal(err)
		}
		answers(t, l, "tcp", tcp)
		waits, err := net.DialTimeout("tcp", tcp, 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close() // this life ends; the socket listens on
		next, err := q.Listen()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := next.Accept(); err != nil {
			t.Errorf("who waited was not taken over: %v", err)
		}
		_ = waits.Close()
		_ = next.Close()
		for range 2 {
			if err := q.Silence(); err != nil {
				t.Fatal(err)
			}
		}
		refused("silenced")
	}
	if (*socket.Set)(nil).Quiet("q") != nil {
		t.Error("a set without sockets has one")
	}
}
