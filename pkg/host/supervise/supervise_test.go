package supervise_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/host/supervise"
)

// The test binary is also every child: what it plays is its only argument.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "play" {
		play(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

func say(text string) {
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "notify:", err)
		os.Exit(3)
	}
	_, _ = c.Write([]byte(text))
	_ = c.Close()
}

func play(part string) {
	fmt.Println("playing", part)
	switch part {
	case "good", "stubborn":
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		say("READY=1\nSTATUS=all is well")
		for {
			select {
			case <-term:
				if part == "good" {
					say("STOPPING=1")
					return
				}
			case <-time.After(20 * time.Millisecond):
				say("WATCHDOG=1")
			}
		}
	case "crash":
		say("READY=1")
		os.Exit(7)
	case "panic":
		say("READY=1")
		var none []int
		fmt.Println(none[1])
	case "server":
		serve()
	case "litter":
		cmd := exec.Command("setsid", "sleep", "300")
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
		}
		say(fmt.Sprintf("READY=1\nSTATUS=%d", cmd.Process.Pid))
		time.Sleep(time.Minute)
	case "busy":
		for range 20 {
			say("EXTEND_TIMEOUT_USEC=1\nSTATUS=recovers")
			time.Sleep(50 * time.Millisecond)
		}
		say("READY=1\nSTATUS=")
		time.Sleep(time.Minute)
	case "silent", "mute":
		if part == "mute" {
			say("READY=1")
		}
		time.Sleep(time.Minute)
	case "parent":
		s, err := supervise.New(config(os.Getenv("TEST_FOLDER"), "good", "stubborn"), clock.System{}, quiet())
		if err == nil {
			err = s.Run(context.Background(), func() {
				for _, st := range s.Status() {
					fmt.Println("pid", st.PID)
				}
				fmt.Println("ready")
			})
		}
		fmt.Println(err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func config(folder string, parts ...string) supervise.Config {
	cfg := supervise.Config{Notify: filepath.Join(folder, "n"), Logs: filepath.Join(folder, "logs")}
	for _, p := range parts {
		cfg.Services = append(cfg.Services, supervise.Service{Name: p, Path: os.Args[0], Args: []string{"play", p}, Limits: supervise.Limits{
			Ready: 2 * time.Second, Watchdog: time.Second, Stop: 300 * time.Millisecond, PauseMin: 10 * time.Millisecond, PauseMax: 50 * time.Millisecond, Stable: time.Minute}})
	}
	return cfg
}

func folder(t *testing.T) string {
	d, err := os.MkdirTemp("", "sup") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	return d
}

type run struct {
	t    *testing.T
	s    *supervise.Supervisor
	stop context.CancelFunc
	done chan error
	dir  string
}

func start(t *testing.T, change func(*supervise.Config), parts ...string) *run {
	r := &run{t: t, done: make(chan error, 1), dir: folder(t)}
	cfg := config(r.dir, parts...)
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.s, err = supervise.New(cfg, clock.System{}, quiet()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	go func() { r.done <- r.s.Run(ctx, func() {}) }()
	t.Cleanup(func() { r.end() })
	return r
}

func (r *run) end() {
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("Run = %v", err)
		}
		r.done <- nil
	case <-time.After(10 * time.Second):
		r.t.Fatal("Run does not return")
	}
}

func (r *run) await(what string, cond func([]supervise.Status) bool) []supervise.Status {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		st := r.s.Status()
		if len(st) > 0 && cond(st) {
			return st
		}
		if time.Now().After(end) {
			r.t.Fatalf("waited too long for %s; status %+v", what, st)
		}
	}
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

func TestAServiceIsReadyAndStopsWhenAsked(t *testing.T) {
	r := start(t, nil, "good")
	st := r.await("ready", func(s []supervise.Status) bool { return s[0].State == supervise.Ready && s[0].Said != "" })
	if st[0].Said != "all is well" {
		t.Errorf("said %q", st[0].Said)
	}
	time.Sleep(1200 * time.Millisecond) // longer than its watchdog
	if now := r.s.Status(); now[0].PID != st[0].PID {
		t.Errorf("process %d became %d; want it left alone while it pings", st[0].PID, now[0].PID)
	}
	r.end()
	if !gone(st[0].PID) {
		t.Error("it lives on")
	}
	log, err := os.ReadFile(filepath.Join(r.dir, "logs", "good.log"))
	if err != nil || !strings.Contains(string(log), "playing good") {
		t.Errorf("log %q, %v", log, err)
	}
}

func TestAServiceThatFailsIsStartedAgainHoweverOften(t *testing.T) {
	for _, part := range []string{"crash", "silent", "mute"} {
		t.Run(part, func(t *testing.T) {
			r := start(t, func(c *supervise.Config) {
				c.Services[0].Limits.Ready, c.Services[0].Limits.Watchdog = 300*time.Millisecond, 300*time.Millisecond
			}, part)
			want := map[string]string{"crash": "playing crash", "silent": "it was not ready within 300ms: playing silent", "mute": "it gave no sign of life for 300ms: playing mute"}[part]
			r.await("three failures, and why", func(s []supervise.Status) bool { return s[0].Failures >= 3 && s[0].Last == want })
		})
	}
}

func TestAServiceWhoseStartIsLongIsLeftAloneWhileItGetsOn(t *testing.T) {
	r := start(t, func(c *supervise.Config) { c.Services[0].Limits.Ready = 500 * time.Millisecond }, "busy") // its start takes a second
	st := r.await("what it is at", func(s []supervise.Status) bool { return s[0].Said == "recovers" })
	if st[0].State != supervise.Starting {
		t.Errorf("it is %s", st[0].State)
	}
	st = r.await("ready", func(s []supervise.Status) bool { return s[0].State == supervise.Ready })
	if st[0].Failures != 0 || st[0].Said != "" {
		t.Errorf("%+v; want no failure, and nothing more said", st[0])
	}
}

func TestAProgramThatIsMissingIsTriedAgain(t *testing.T) {
	r := start(t, func(c *supervise.Config) { c.Services[0].Path = "/nonexistent/program" }, "good")
	st := r.await("three failures", func(s []supervise.Status) bool { return s[0].Failures >= 3 && s[0].Said != "" })
	if !strings.Contains(st[0].Said, "no such file") {
		t.Errorf("said %q; want why", st[0].Said)
	}
}

func TestAServiceThatIgnoresItsEndIsKilled(t *testing.T) {
	r := start(t, nil, "stubborn")
	pid := r.await("ready", func(s []supervise.Status) bool { return s[0].State == supervise.Ready })[0].PID
	began := time.Now()
	r.end()
	if took := time.Since(began); took < 300*time.Millisecond || !gone(pid) {
		t.Errorf("ended after %v, gone %v; want it killed after its bound of 300 ms", took, gone(pid))
	}
}

func TestTheLastStartedStopsFirst(t *testing.T) {
	r := start(t, nil, "good", "stubborn")
	pids := r.await("ready", func(s []supervise.Status) bool {
		return s[0].State == supervise.Ready && s[1].State == supervise.Ready
	})
	r.stop()
	r.await("the last one stopping", func(s []supervise.Status) bool { return s[1].State == supervise.Stopping })
	time.Sleep(100 * time.Millisecond)
	if st := r.s.Status(); st[0].State != supervise.Ready {
		t.Errorf("the first one is %s while the last one stops; want it ready", st[0].State)
	}
	r.end()
	if !gone(pids[0].PID) || !gone(pids[1].PID) {
		t.Error("a service lives on")
	}
}

func TestKillNowStartsAServiceAnew(t *testing.T) {
	r := start(t, nil, "good")
	pid := r.await("ready", func(s []supervise.Status) bool { return s[0].State == supervise.Ready })[0].PID
	r.s.KillNow("good")
	r.await("another life", func(s []supervise.Status) bool { return s[0].State == supervise.Ready && s[0].PID != pid })
}

func TestRestartEndsAServiceInOrderAndStartsItAnew(t *testing.T) {
	r := start(t, nil, "good")
	pid := r.await("ready", func(s []supervise.Status) bool { return s[0].State == supervise.Ready })[0].PID
	r.s.Restart("nobody")
	r.s.Restart("good")
	r.await("another life", func(s []supervise.Status) bool { return s[0].State == supervise.Ready && s[0].PID != pid })
}

func TestKillingTheParentLeavesNoService(t *testing.T) {
	cmd := exec.Command(os.Args[0], "play", "parent")
	cmd.Env = append(os.Environ(), "TEST_FOLDER="+folder(t))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
		var pid int
		if _, err := fmt.Sscanf(lines.Text(), "pid %d", &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	if len(pids) != 2 {
		t.Fatalf("services %v; want two", pids)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for end := time.Now().Add(5 * time.Second); !gone(pids[0]) || !gone(pids[1]); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a service lives on after its parent was killed")
		}
	}
}

func TestALogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l, err := supervise.OpenLog(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		fmt.Fprintf(l, "line %04d\n", i)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	now, _ := os.ReadFile(path)
	old, _ := os.ReadFile(path + ".1")
	if len(now) == 0 || len(now) > 100 || len(old) > 100 || !strings.HasSuffix(string(now), "line 0049\n") {
		t.Errorf("%d and %d bytes, the newest ends with %q; want at most 100 each, the last line last", len(now), len(old), now)
	}
}
