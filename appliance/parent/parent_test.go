package parent_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/fence"
	"beffroi.dev/appliance/parent"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/transport"
)

// The test binary is init and every service: each service writes its process
// number where the test finds it, and waits for its end.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[2] == "--dir" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := play(ctx, os.Args[1], config.Dir(os.Args[3])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func play(ctx context.Context, part string, d config.Dir) error {
	if part == "init" {
		n, err := config.Load(d)
		if err != nil {
			return err
		}
		return parent.Run(ctx, plan(d), n, func() { _ = os.WriteFile(pidFile(d, "ready"), nil, 0o600) }, quiet())
	}
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := os.WriteFile(pidFile(d, part), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	_, err = c.Write([]byte("READY=1"))
	<-ctx.Done()
	return err
}

func plan(d config.Dir) parent.Config {
	return parent.Config{Dir: d, Binary: os.Args[0], Has: func(s string) bool { return s != "console" }}
}

func pidFile(d config.Dir, part string) string { return filepath.Join(string(d), part+".pid") }

func pidOf(d config.Dir, part string) int {
	b, _ := os.ReadFile(pidFile(d, part)) // not yet there: zero
	pid, _ := strconv.Atoi(string(b))
	return pid
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func stateFolder(t *testing.T) config.Dir {
	f, err := os.MkdirTemp("", "par") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(f) })
	n := &config.Node{Version: config.Version, Pair: ident.NewUUID(), Self: 1, Profile: "lab", VoteListen: []transport.Path{{Name: "lan", Addr: "127.0.0.1:0"}}}
	for i, name := range []string{"a", "b", "w"} {
		public, _, _ := ed25519.GenerateKey(nil)
		m := config.Member{ID: ident.Node(i + 1), Name: name, Kind: cluster.KindNode, PublicKey: public}
		if name == "w" {
			m.Kind = cluster.KindWitness
		}
		n.Members = append(n.Members, m)
	}
	if err := config.Save(config.Dir(f), n); err != nil {
		t.Fatal(err)
	}
	return config.Dir(f)
}

// startInit returns when all services are ready.
func startInit(t *testing.T, d config.Dir) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "init", "--dir", string(d))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	await(t, "all services", func() bool { _, err := os.Stat(pidFile(d, "ready")); return err == nil })
	return cmd
}

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

// fakeQEMU is a process in a session of its own, with a run.json that names it.
func fakeQEMU(t *testing.T, folder string) chan struct{} {
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	start, err := strconv.ParseUint(strings.Fields(string(b[strings.LastIndex(string(b), ")")+1:]))[19], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	run, _ := json.Marshal(map[string]any{"version": 1, "pid": cmd.Process.Pid, "start_time": start})
	if err := os.WriteFile(filepath.Join(folder, "run.json"), run, 0o600); err != nil {
		t.Fatal(err)
	}
	return ended
}

func TestInitStartsWhatANodeNeedsAndStopsItAll(t *testing.T) {
	d := stateFolder(t)
	cmd := startInit(t, d)
	var pids []int
	for _, s := range []string{"node", "block", "vm", "citizen"} {
		pids = append(pids, pidOf(d, s))
	}
	n, err := config.Load(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Run(t.Context(), plan(d), n, func() {}, quiet()); err == nil || !strings.Contains(err.Error(), "another init") {
		t.Errorf("a second init: %v; want it told so", err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("init ended with %v", err)
	}
	for _, pid := range pids {
		if pid == 0 || !gone(pid) {
			t.Errorf("service %d lives on, or never was", pid)
		}
	}
}

func TestTheCitizenServiceIsKilledOnceWhenItsHoldEnds(t *testing.T) {
	d := stateFolder(t)
	startInit(t, d)
	first := pidOf(d, "citizen")
	c := fence.NewClient(d.Socket("init"))
	defer c.Close()
	if err := c.Send(fence.Renewal{Vouched: clock.System{}.Now(), Ever: true, Address: true}); err != nil {
		t.Fatal(err)
	}
	await(t, "another citizen service", func() bool { p := pidOf(d, "citizen"); return p != 0 && p != first })
	second := pidOf(d, "citizen")
	time.Sleep(2 * lease.Lab().AddressDrop)
	if pidOf(d, "citizen") != second || gone(second) {
		t.Error("the standby was killed too")
	}
	if pid := pidOf(d, "node"); gone(pid) {
		t.Error("another service died with it")
	}
}

func TestAfterAFreezeWhatRanOutComesFirst(t *testing.T) {
	d, folder := stateFolder(t), t.TempDir()
	cmd := startInit(t, d)
	died := fakeQEMU(t, folder)
	c := fence.NewClient(d.Socket("init"))
	defer c.Close()
	renewal := func() fence.Renewal {
		return fence.Renewal{Vouched: clock.System{}.Now(), Ever: true, Guests: []fence.Guest{{Name: "x", Folder: folder}}}
	}
	if err := c.Send(renewal()); err != nil {
		t.Fatal(err)
	}
	await(t, "init to know of it", func() bool { r, ok := fence.Kept(d); return ok && len(r.Guests) == 1 })
	_ = cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(lease.Lab().Fence + 100*time.Millisecond)
	if err := c.Send(renewal()); err != nil { // it waits in the socket, and is fresh
		t.Fatal(err)
	}
	select {
	case <-died:
		t.Fatal("it died while init was frozen")
	default:
	}
	began := time.Now()
	_ = cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-died:
		t.Logf("profile lab: killed %v after the thaw", time.Since(began).Round(time.Millisecond))
	case <-time.After(lease.Lab().Margin):
		t.Error("a fresh renewal excused what ran out before it")
	}
}

func TestAKilledInitLeavesGuestsAndTheNextOneGoesOnWithTheirDeadline(t *testing.T) {
	d, folder := stateFolder(t), t.TempDir()
	cmd := startInit(t, d)
	died := fakeQEMU(t, folder)
	c := fence.NewClient(d.Socket("init"))
	defer c.Close()
	vouched := clock.System{}.Now()
	if err := c.Send(fence.Renewal{Vouched: vouched, Ever: true, Guests: []fence.Guest{{Name: "x", Folder: folder}}}); err != nil {
		t.Fatal(err)
	}
	await(t, "init to know of it", func() bool { r, ok := fence.Kept(d); return ok && len(r.Guests) == 1 })
	service := pidOf(d, "node")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	await(t, "its services to die with it", func() bool { return gone(service) })
	_ = os.Remove(pidFile(d, "ready"))
	startInit(t, d)
	timing := lease.Lab()
	select {
	case <-died:
	case <-time.After(timing.Fence + timing.Margin):
		t.Fatal("the guest lives past its fence and margin")
	}
	if took := (clock.System{}).Now().Sub(vouched); took < timing.Fence || took > timing.Fence+timing.Margin {
		t.Errorf("dead %v after it was vouched for; want between %v and %v", took, timing.Fence, timing.Fence+timing.Margin)
	}
}

func TestAConfigurationTellsItsFaults(t *testing.T) {
	c := parent.Config{Dir: "here"}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "absolute") || !strings.Contains(err.Error(), "program") {
		t.Errorf("Validate = %v; want both faults", err)
	}
	if err := errors.Join(parent.Run(t.Context(), c, nil, nil, quiet())); err == nil {
		t.Error("Run took it")
	}
}
