package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test's own program plays all parts: process 1 as a child that collects orphans, the
// init that it starts, and its consoles. Each writes what it does into one file.
const (
	partEnv  = "PID1_TEST_PART"
	storyEnv = "PID1_TEST_STORY"
)

func TestMain(m *testing.M) {
	if os.Getenv(partEnv) == "" {
		os.Exit(m.Run())
	}
	switch {
	case len(os.Args) > 1 && os.Args[1] == "init":
		playInit()
	case len(os.Args) > 1 && os.Args[1] == "rescue":
		tell("rescue on " + filepath.Base(os.Args[len(os.Args)-1]))
		time.Sleep(time.Hour) // it is ended
	default:
		playReaper()
	}
}

func tell(format string, args ...any) {
	f, err := os.OpenFile(os.Getenv(storyEnv), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		os.Exit(3)
	}
	fmt.Fprintf(f, format+"\n", args...)
	_ = f.Close()
}

func playReaper() {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		tell("no reaper: %v", err)
		os.Exit(3)
	}
	// Longer than a busy machine takes to start a program that ends at once.
	r := newReaper(limits{settled: 5 * time.Second, maxPause: 10 * time.Millisecond, rescueAfter: 3})
	r.program = os.Args[0]
	r.ttys = []string{os.Getenv(storyEnv), "/dev/null", filepath.Join(filepath.Dir(os.Getenv(storyEnv)), "none")}
	r.machine = func(how int) error {
		tell("the machine ends: %#x", how)
		os.Exit(0)
		return nil
	}
	r.keep()
}

// playInit ends at once in its first lives, as many as the file says; then it lives,
// leaves an orphan, and says which wishes it hears.
func playInit() {
	heard := make(chan os.Signal, 4)
	signal.Notify(heard, syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGUSR2)
	file := filepath.Join(filepath.Dir(os.Getenv(storyEnv)), "deaths")
	b, _ := os.ReadFile(file)
	if deaths, _ := strconv.Atoi(string(b)); deaths > 0 {
		if err := os.WriteFile(file, []byte(strconv.Itoa(deaths-1)), 0o600); err != nil {
			os.Exit(3)
		}
		tell("init dies")
		os.Exit(7)
	}
	out, err := exec.Command("/bin/sh", "-c", "sleep 0.05 & echo $!").Output()
	if err != nil {
		os.Exit(3)
	}
	tell("init lives, orphan %s", strings.TrimSpace(string(out)))
	for s := range heard {
		tell("init hears %v", s)
		if s == syscall.SIGTERM { // it fails to do it
			os.Exit(1)
		}
	}
}

// stage is a process 1 whose story is read.
type stage struct {
	t    *testing.T
	cmd  *exec.Cmd
	file string
}

func play(t *testing.T, deaths int) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{t: t, file: filepath.Join(dir, "story")}
	for name, text := range map[string]string{"story": "", "deaths": strconv.Itoa(deaths)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(exe)
	s.cmd.Env = append(os.Environ(), partEnv+"=1", storyEnv+"="+s.file)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range children(s.cmd.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
	return s
}

// children are the processes whose parent is one, living or dead.
func children(of int) (all []int) {
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, e := range entries {
		b, err := os.ReadFile(e)
		if err != nil {
			continue // it has ended
		}
		at := strings.LastIndexByte(string(b), ')') // after its name, which may hold anything
		if f := strings.Fields(string(b[at+1:])); len(f) > 1 && f[1] == strconv.Itoa(of) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(e))); err == nil {
				all = append(all, pid)
			}
		}
	}
	return all
}

// until waits for something; only a process 1 that does not do it takes long.
func (s *stage) until(what string, there func() bool) {
	s.t.Helper()
	for limit := time.Now().Add(30 * time.Second); !there(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			s.t.Fatalf("not seen: %s\n%s", what, strings.Join(s.lines(), "\n"))
		}
	}
}

func (s *stage) lines() (all []string) {
	f, err := os.Open(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	for l := bufio.NewScanner(f); l.Scan(); {
		all = append(all, l.Text())
	}
	return all
}

// says waits for a line, as often as it is wanted, and returns the rest of it.
func (s *stage) says(prefix string, times int) (rest string) {
	s.t.Helper()
	s.until(prefix, func() bool {
		n := 0
		for _, l := range s.lines() {
			if after, ok := strings.CutPrefix(l, prefix); ok {
				n, rest = n+1, after
			}
		}
		return n >= times
	})
	return rest
}

func (s *stage) send(signals ...syscall.Signal) {
	s.t.Helper()
	for _, sig := range signals {
		if err := s.cmd.Process.Signal(sig); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestAnInitThatDiesIsStartedAgainAndOrphansAreCollected(t *testing.T) {
	s := play(t, 1)
	orphan, err := strconv.Atoi(s.says("init lives, orphan ", 1))
	if err != nil {
		t.Fatal(err)
	}
	s.until("the orphan is collected", func() bool { return syscall.Kill(orphan, 0) == syscall.ESRCH })
	if l := s.lines(); len(l) != 2 || l[0] != "init dies" {
		t.Errorf("story: %q", l)
	}
}

func TestConsolesStandInForAnInitThatCannotLiveUntilItHasSettled(t *testing.T) {
	s := play(t, 4)
	s.says("init lives", 1)
	s.says("rescue on ", 2) // on both terminals, each once, and on none that is not there
	s.until("init alone", func() bool { return len(children(s.cmd.Process.Pid)) == 1 })
	count := map[string]int{}
	for _, l := range s.lines() {
		count[l]++
	}
	if count["rescue on story"] != 1 || count["rescue on null"] != 1 || count["rescue on none"] != 0 || count["init dies"] != 4 {
		t.Errorf("story: %q", s.lines())
	}
}

func TestNoSignalEndsProcess1AndAWishReachesInit(t *testing.T) {
	s := play(t, 0)
	s.says("init lives", 1)
	s.send(meaningless...)
	s.send(syscall.SIGTERM)
	s.says("init hears user defined signal 1", 1)
	s.send(syscall.SIGINT)
	s.says("init hears user defined signal 1", 2)
	s.send(syscall.SIGUSR2)
	s.says("init hears terminated", 1)
	// It ends without having done what it was asked for first.
	s.says(fmt.Sprintf("the machine ends: %#x", syscall.LINUX_REBOOT_CMD_RESTART), 1)
}
