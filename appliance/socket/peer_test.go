package socket_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"beffroi.dev/appliance/socket"
)

func TestTheKernelTellsWhoConnected(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if p, err := socket.PeerOf(s); err != nil || p.PID != os.Getpid() || p.User != os.Getuid() {
		t.Errorf("%+v, %v; want this process", p, err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if p, err := socket.PeerOf(a); err == nil {
		t.Errorf("of a pipe: %+v", p)
	}
}
