package rescue_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/rescue"
)

// The emulator is wider than the screen: what leaves it is seen.
const emulated = 100

// seat is a person at a terminal: real tty, real service, foreign emulator.
type seat struct {
	t    *testing.T
	pty  *os.File
	mu   sync.Mutex // guards term and read
	term vt10x.Terminal
	read int
}

func sit(t *testing.T, c rescue.Config) *seat {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	s := &seat{t: t, pty: master, term: vt10x.New(vt10x.WithSize(emulated, 30))}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.term.Write(b[:n])
			s.read += n
			s.mu.Unlock()
		}
	}()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	c.TTY = tty.Name()
	go func() { ended <- rescue.RunService(ctx, c, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
		tty.Close()
		master.Close()
		<-read
	})
	return s
}

func (s *seat) press(keys string) {
	s.t.Helper()
	if _, err := s.pty.Write([]byte(keys)); err != nil {
		s.t.Fatal(err)
	}
}

// lines is what the emulator shows.
func (s *seat) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]string, 30)
	for y := range all {
		row := make([]rune, emulated)
		for x := range row {
			if row[x] = s.term.Cell(x, y).Char; row[x] == 0 {
				row[x] = ' '
			}
		}
		all[y] = strings.TrimRight(string(row), " ")
	}
	return all
}

// sees waits until all texts are on the screen, and checks its edges.
func (s *seat) sees(texts ...string) []string {
	s.t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		all := s.lines()
		screen := strings.ReplaceAll(strings.Join(all, "\n"), "\u00a0", " ")
		missing := ""
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				missing = text
			}
		}
		if missing == "" {
			for y, l := range all {
				if n := len([]rune(l)); n > 80 || y >= 24 && n > 0 {
					s.t.Errorf("row %d leaves the screen: %q", y, l)
				}
			}
			return all
		}
		if time.Now().After(until) {
			s.t.Fatalf("no %q on\n%s", missing, screen)
		}
	}
}

// home is the state folder of a node whose services are dead.
func home(t *testing.T) config.Dir {
	t.Helper()
	dir := config.Dir(t.TempDir())
	for _, d := range []string{dir.Logs(), dir.Run()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir.Logs(), "node.log"), "time=2026-02-03T03:12:01.5Z level=INFO msg=started room=node\n")
	table := map[string]any{"version": "9.8.7", "phases": []map[string]any{{"name": "mounts", "state": "done", "seconds": 0.31}, {"name": "services", "state": "done", "seconds": 2.5}}}
	b, err := json.Marshal(table)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir.Run(), "boot.json"), string(b))
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// All screens of an unpaired node, in both languages, on a real terminal.
func TestAWalkThroughAllScreens(t *testing.T) {
	dir := home(t)
	s := sit(t, rescue.Config{Dir: dir, Shell: "/bin/sh", PIDFile: filepath.Join(string(dir), "pid")})
	for _, l := range []map[string]string{
		{"first": "Première mise en service", "menu": "Journaux des services", "network": "Passerelle", "logs": "Journaux", "log": "Journal de node",
			"none": "Rien ici pour l'instant.", "reboot": "Oui, redémarrer ce nœud", "off": "RESTE ÉTEINT", "shell": "L'interpréteur de secours est refusé", "boot": "Système de fichiers du noyau", "lang": "Terminal sans accents (ASCII)", "bar": "F2/l English"},
		{"first": "First start", "menu": "Logs of the services", "network": "Gateway", "logs": "Logs", "log": "Log of node",
			"none": "Nothing here for now.", "reboot": "Yes, reboot this node", "off": "STAYS OFF", "shell": "The rescue shell is refused", "boot": "Kernel file systems", "lang": "Terminal without accents (ASCII)", "bar": "F2/l Français"},
	} {
		s.sees(l["first"], "9.8.7", l["bar"])
		for _, step := range [][2]string{{"1\r", l["network"]}, {"2\r", "> 1. node"}, {"3\r", l["none"]}, {"4\r", l["reboot"]}, {"5\r", l["off"]}, {"6\r", l["shell"]}, {"7\r", l["boot"]}, {"8\r", l["lang"]}} {
			s.press("m")
			s.sees(l["menu"])
			s.press(step[0])
			s.sees(step[1])
			s.press("\x1b")
			s.sees(l["menu"])
		}
		s.press("2\r")
		s.sees(l["logs"], "node")
		s.press("\x1b[F\r")
		s.sees(l["log"], "INFO started room=node")
		s.press("\x1b")
		s.sees(l["logs"])
		s.press("\x1b")
		s.sees(l["menu"])
		s.press("\x1b")
		s.sees(l["first"])
		s.press("l")
	}
}

// A second on the line costs less than 200 bytes, with the clock and the mending.
func TestASecondOnTheLine(t *testing.T) {
	s := sit(t, rescue.Config{Dir: home(t)})
	s.sees("9.8.7")
	time.Sleep(1200 * time.Millisecond)
	s.mu.Lock()
	before := s.read
	s.mu.Unlock()
	const seconds = 3
	time.Sleep(seconds * time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	cost := (s.read - before) / seconds
	t.Logf("%d bytes a second", cost)
	if cost >= 200 {
		t.Errorf("%d bytes a second", cost)
	}
}

// The shell has the terminal, line editing and Ctrl-C, and gives it back.
func TestTheShellBehindItsPassword(t *testing.T) {
	dir := home(t)
	hash, err := api.HashPassword("trois heures du matin")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(string(dir), rescue.PasswordFile), hash+"\n")
	s := sit(t, rescue.Config{Dir: dir, Shell: "/bin/sh"})
	s.sees("Première")
	s.press("m4\r")
	s.sees("Mot de passe")
	s.press("faux\r")
	s.sees("Essais manqués : 1")
	for until := time.Now().Add(time.Minute); strings.Contains(strings.Join(s.lines(), "\n"), "Nouvel essai") && time.Now().Before(until); {
		time.Sleep(20 * time.Millisecond) // the pause after one: it takes no keys
	}
	s.sees("Mot de passe\n")
	s.press("trois heures du matin\r")
	s.shellSays("echo $((6*7))-$(tty)\r", "42-/dev/pts/")
	s.press("echo begun; sleep 100\r")
	s.sees("\nbegun")
	// Ctrl-C also drops what was typed ahead; it comes again with each try, because the
	// first may be earlier than the sleep.
	s.shellSays("\x03echo inter$((1+1))upted\r", "inter2upted")
	s.press("exit\r")
	s.sees("Première", "9.8.7", "F1/m")
	s.press("m")
	s.sees("Journaux des services")
}

// shellSays types until the shell answers: it may not read yet.
func (s *seat) shellSays(line, want string) {
	s.t.Helper()
	for until := time.Now().Add(90 * time.Second); time.Now().Before(until); {
		s.press(line)
		for range 20 {
			time.Sleep(50 * time.Millisecond)
			if strings.Contains(strings.Join(s.lines(), "\n"), want) {
				return
			}
		}
	}
	s.t.Fatalf("no %q on\n%s", want, strings.Join(s.lines(), "\n"))
}

// signalled chooses entries of the menu, and checks which signal each sends to this
// process.
func signalled(t *testing.T, c rescue.Config, entries map[string]os.Signal) {
	t.Helper()
	got := make(chan os.Signal, 4)
	for _, sig := range entries {
		signal.Notify(got, sig)
	}
	defer signal.Stop(got)
	for entry, want := range entries {
		s := sit(t, c)
		s.sees("Première")
		s.press(entry)
		s.sees("Oui, ")
		s.press("2\r")
		select {
		case sig := <-got:
			if sig != want {
				t.Errorf("%s: %v", entry, sig)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: no signal", entry)
		}
		s.sees("est demandé")
	}
}

// Reboot and power-off reach the process of the file, each by its signal.
func TestRebootAndPowerOffSignalInit(t *testing.T) {
	dir := home(t)
	pid := filepath.Join(string(dir), "pid")
	write(t, pid, strconv.Itoa(os.Getpid())+"\n")
	signalled(t, rescue.Config{Dir: dir, PIDFile: pid}, map[string]os.Signal{"m4\r": syscall.SIGUSR1, "m5\r": syscall.SIGTERM})
}

// A console that stands in for an init that cannot live asks process 1, by its signals.
func TestWithoutAnInitRebootAndPowerOffSignalTheReaper(t *testing.T) {
	dir := home(t)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(string(dir), "pid")
	write(t, stale, strconv.Itoa(gone.Process.Pid)+"\n")
	for _, pid := range []string{stale, stale + ".none"} {
		signalled(t, rescue.Config{Dir: dir, PIDFile: pid, Reaper: os.Getpid()}, map[string]os.Signal{"m4\r": syscall.SIGUSR1, "m5\r": syscall.SIGUSR2})
	}
}

// The process of a service of this folder ends, others do not.
func TestRestartEndsTheProcess(t *testing.T) {
	dir := home(t)
	other := home(t)
	mine, theirs := service(t, "block", dir), service(t, "block", other)
	if err := rescue.RestartForTest(t.Context(), dir, "block"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-mine:
	case <-time.After(5 * time.Second):
		t.Error("it still runs")
	}
	select {
	case <-theirs:
		t.Error("the process of another folder has ended")
	default:
	}
	if err := rescue.RestartForTest(t.Context(), dir, "block"); err == nil {
		t.Error("a service that does not run was restarted")
	}
}

// service is a process with the arguments of one.
func service(t *testing.T, name string, dir config.Dir) <-chan struct{} {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Args = []string{"beffroi", name, "--dir", string(dir)}
	cmd.Env = append(os.Environ(), "RESCUE_TEST_SERVICE=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	time.Sleep(100 * time.Millisecond)
	return ended
}

func TestMain(m *testing.M) {
	if os.Getenv("RESCUE_TEST_SERVICE") != "" {
		time.Sleep(time.Minute)
		return
	}
	os.Exit(m.Run())
}
