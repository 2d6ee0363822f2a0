package supervise_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/host/cgroup"
	"beffroi.dev/pkg/host/cgroup/cgrouptest"
	"beffroi.dev/pkg/host/supervise"
)

// serve answers on every socket that was handed over with its name, its process
// number and its user, and dies when asked to by a first byte of x. A quiet socket
// is listened on.
func serve() {
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	for _, f := range activation.Files(true) {
		raw, _ := f.SyscallConn()
		_ = raw.Control(func(fd uintptr) { _ = unix.Listen(int(fd), 1024) })
		l, err := net.FileListener(f)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				var first [1]byte
				if _, err := io.ReadFull(c, first[:]); err != nil {
					fmt.Println("read:", err)
				}
				if first[0] == 'x' {
					_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				}
				status, _ := os.ReadFile("/proc/self/status")
				fmt.Fprintf(c, "%s %d %d\n%s", f.Name(), os.Getpid(), os.Getuid(), status)
				_ = c.Close()
			}
		}()
	}
	say("READY=1")
	for {
		time.Sleep(20 * time.Millisecond)
		say("WATCHDOG=1")
	}
}

// ask sends a byte and returns the answer.
func ask(network, address, what string) (string, error) {
	c, err := net.DialTimeout(network, address, 20*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, what); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func port(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func ready(s []supervise.Status) bool { return s[0].State == supervise.Ready }

func TestNobodyIsRefusedWhileAServiceIsStartedAgain(t *testing.T) {
	tcp, path := port(t), filepath.Join(folder(t), "s")
	r := start(t, func(c *supervise.Config) {
		c.Services[0].Sockets = []supervise.Socket{{Name: "web", Network: "tcp", Address: tcp}, {Name: "local", Network: "unix", Address: path}}
	}, "server")
	r.await("ready", ready)
	for round := range 5 {
		for _, where := range [][2]string{{"tcp", tcp}, {"unix", path}} {
			before := r.s.Status()[0].PID
			_, _ = ask(where[0], where[1], "x") // its death
			got, err := ask(where[0], where[1], "?")
			if err != nil {
				t.Fatalf("round %d, %s: %v; want an answer of the next life", round, where[0], err)
			}
			if name := strings.Fields(got); name[0] == "" || name[1] == strconv.Itoa(before) {
				t.Errorf("round %d: answered by %s of %d", round, name, before)
			}
		}
	}
	r.end()
	if _, err := ask("tcp", tcp, "?"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end: %v; want refused", err)
	}
}

func TestASocketThatCannotBeOpenedIsNotHanded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := filepath.Join(folder(t), "s")
	r := start(t, func(c *supervise.Config) {
		c.Services[0].Sockets = []supervise.Socket{{Name: "taken", Network: "tcp", Address: l.Addr().String()}, {Name: "local", Network: "unix", Address: path}}
	}, "server")
	r.await("ready", ready)
	if got, err := ask("unix", path, "?"); err != nil || !strings.HasPrefix(got, "local ") {
		t.Errorf("answer %q, %v", got, err)
	}
}

// Two nodes of a lab share the service address: who does not listen must not keep
// the other from it, and a fence ends the listening.
func TestAQuietSocketListensOnlyWhileItsServiceDoes(t *testing.T) {
	tcp := port(t)
	quiet := func(c *supervise.Config) {
		c.Services[0].Sockets = []supervise.Socket{{Name: "service", Network: "tcp", Address: tcp, Quiet: true}}
	}
	standby := start(t, quiet, "good") // it never listens
	standby.await("ready", ready)
	if _, err := ask("tcp", tcp, "?"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("bound, not listening: %v; want refused", err)
	}
	r := start(t, quiet, "server")
	r.await("ready", ready)
	got, err := ask("tcp", tcp, "?")
	if err != nil || !strings.HasPrefix(got, "service ") {
		t.Fatalf("answer %q, %v", got, err)
	}
	pid := r.s.Status()[0].PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, "its standstill", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return strings.Contains(string(b), ") T ")
	})
	waits := make(chan error, 1)
	go func() { _, err := ask("tcp", tcp, "?"); waits <- err }()
	await(t, "a connection that waits", func() bool { return waiting(tcp) })
	r.s.KillNow("server")
	if err := <-waits; err == nil {
		t.Error("a connection that waited through the fence was answered; want it refused")
	}
	// The next life listens again, as this service does at once.
	r.await("another life", func(s []supervise.Status) bool { return ready(s) && s[0].PID != pid })
	if got, err := ask("tcp", tcp, "?"); err != nil || !strings.HasPrefix(got, "service ") {
		log, _ := os.ReadFile(filepath.Join(r.dir, "logs", "server.log"))
		t.Errorf("answer %.30q, %v; log %s", got, err, log)
	}
}

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// waiting reports whether a connection to an address stands, which the kernel makes
// before anybody accepts it.
func waiting(address string) bool {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	b, _ := os.ReadFile("/proc/net/tcp")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 4 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) && f[3] == "01" && f[4] != "00000000:00000000" {
			return true
		}
	}
	return false
}

func TestAnAddressThatIsNotHereYetCanBeBound(t *testing.T) {
	for _, address := range []string{"192.0.2.77:8077", "[2001:db8::77]:8077"} {
		for _, quiet := range []bool{false, true} {
			k := supervise.Socket{Name: "s", Network: "tcp", Address: address, Quiet: quiet}
			if f, err := supervise.Open(k); err == nil {
				f.Close()
				t.Errorf("%s was bound without Free", address)
			}
			k.Free = true
			f, err := supervise.Open(k)
			if err != nil && netip.MustParseAddrPort(address).Addr().Is6() && errors.Is(err, syscall.EAFNOSUPPORT) {
				continue
			}
			if err != nil {
				t.Errorf("%s, quiet %v: %v", address, quiet, err)
				continue
			}
			f.Close()
		}
	}
}

func TestAServiceRunsAsItsUserWithItsRightsAlone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a service another user")
	}
	dir := folder(t)
	path := filepath.Join(dir, "s")
	prepared := 0
	r := start(t, func(c *supervise.Config) {
		c.Restrict, c.Speakers = true, 4242
		s := &c.Services[0]
		s.User = &syscall.Credential{Uid: 4243, Gid: 4243, Groups: []uint32{4242}}
		s.Caps, s.OOM = []uintptr{unix.CAP_KILL}, 321
		s.Sockets = []supervise.Socket{{Name: "local", Network: "unix", Address: path, Group: 4244}}
		s.Before = func() error { prepared++; return os.Chmod(filepath.Dir(c.Notify), 0o711) }
		copyProgram(t, s)
	}, "server")
	st := r.await("ready", ready)
	got, err := ask("unix", path, "?")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf("local %d 4243\n", st[0].PID), "Groups:\t4242 ", "CapEff:\t0000000000000020\n", "NoNewPrivs:\t1\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	if prepared == 0 {
		t.Error("Before was not called")
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", st[0].PID)); err != nil || string(b) != "321\n" {
		t.Errorf("oom_score_adj %q, %v", b, err)
	}
	var sock unix.Stat_t
	if err := unix.Stat(path, &sock); err != nil || sock.Gid != 4244 || sock.Mode&0o777 != 0o660 {
		t.Errorf("socket of group %d, mode %o, %v", sock.Gid, sock.Mode, err)
	}
}

// copyProgram puts the test program where every user can run it.
func copyProgram(t *testing.T, s *supervise.Service) {
	dir := folder(t)
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	s.Path = filepath.Join(dir, "p")
	if err := os.WriteFile(s.Path, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAServiceStartedDiesWithIt(t *testing.T) {
	group := cgroup.Group(filepath.Join(cgrouptest.Folder(t), "svc"))
	if _, err := cgroup.Make(string(group), cgroup.Bounds{}); err != nil {
		t.Fatal(err)
	}
	former := leaveBehind(t, group)
	r := start(t, func(c *supervise.Config) { c.Services[0].Group = group; c.Services[0].Limits.Watchdog = 0 }, "litter")
	st := r.await("ready", func(s []supervise.Status) bool { return ready(s) && s[0].Said != "" })
	<-former // what an earlier life left was killed before
	child, err := strconv.Atoi(st[0].Said)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(st[0].PID, syscall.SIGKILL) // the service alone
	r.await("another life", func(s []supervise.Status) bool { return ready(s) && s[0].PID != st[0].PID })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child)); err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		if time.Now().After(end) {
			t.Fatal("what the service had started lives on")
		}
	}
}

// leaveBehind puts a process into the group, and returns a channel that is closed
// when it ends.
func leaveBehind(t *testing.T, g cgroup.Group) chan struct{} {
	f, err := g.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("sleep", "300")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	return ended
}

func TestTheLastWordsOfAServiceAreKept(t *testing.T) {
	for part, want := range map[string]string{"panic": "panic: runtime error: index out of range", "crash": "playing crash"} {
		told := make(chan []supervise.Status, 1000)
		r := start(t, func(c *supervise.Config) {
			c.Changed = func(s []supervise.Status) {
				select {
				case told <- s:
				default:
				}
			}
		}, part)
		st := r.await("its words", func(s []supervise.Status) bool { return s[0].Failures >= 2 })
		if !strings.Contains(st[0].Last, want) {
			t.Errorf("%s: last words %q; want %q", part, st[0].Last, want)
		}
		r.end()
		if len(told) < 4 {
			t.Errorf("%s: %d changes were told", part, len(told))
		}
	}
}
