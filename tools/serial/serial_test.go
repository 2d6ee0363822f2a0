package serial_test

import (
	"bytes"
	"context"
	"image/color"
	"image/png"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/rescue"
	"beffroi.dev/tools/serial"
)

const password = "trois heures du matin"

// console runs the real console of a node on a real terminal.
func console(t *testing.T) *serial.Line {
	t.Helper()
	dir := config.Dir(t.TempDir())
	for _, d := range []string{dir.Logs(), dir.Run()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	hash, err := api.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(string(dir), rescue.PasswordFile), []byte(hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- rescue.RunService(ctx, rescue.Config{Dir: dir, TTY: tty.Name(), Shell: "/bin/sh"}, slog.New(slog.DiscardHandler))
	}()
	line := serial.New(master)
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the console ended with %v", err)
		}
		_ = tty.Close()
		_ = line.Close()
	})
	return line
}

func bound(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestAPersonFindsTheWayInBothLanguages(t *testing.T) {
	line := console(t)
	for _, w := range []struct {
		lang        serial.Lang
		entry, want string
	}{{serial.French, "Réseau", "Passerelle"}, {serial.English, "Network", "Gateway"}} {
		if _, err := line.Home(bound(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := line.Speak(bound(t), w.lang); err != nil {
			t.Fatal(err)
		}
		if _, err := line.Menu(bound(t)); err != nil {
			t.Fatal(err)
		}
		if err := line.Choose(bound(t), w.entry); err != nil {
			t.Fatal(err)
		}
		screen, err := line.Await(bound(t), w.want)
		if err != nil {
			t.Fatal(err)
		}
		if rows := strings.Split(screen, "\n"); len(rows) != serial.Height {
			t.Errorf("%d rows", len(rows))
		}
	}
}

func TestTheShellTellsOutputAndExitCode(t *testing.T) {
	line := console(t)
	if _, err := line.Shell(bound(t), "faux"); err == nil {
		t.Fatal("a wrong password opened the shell")
	}
	time.Sleep(3 * time.Second) // the console's own pause after a wrong one
	shell, err := line.Shell(bound(t), password)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		command, out string
		code         int
	}{{"echo one; echo two", "one\ntwo", 0}, {"false", "", 1}, {"printf é; exit_code() { return 7; }; exit_code", "é", 7}} {
		out, code, err := shell.Run(bound(t), w.command)
		if err != nil || out != w.out || code != w.code {
			t.Errorf("%q: %q, %d, %v; want %q, %d", w.command, out, code, err, w.out, w.code)
		}
	}
	if err := shell.Leave(bound(t)); err != nil {
		t.Fatal(err)
	}
}

// The picture is a PNG with more than one colour in it.
func TestAPictureShowsTheScreen(t *testing.T) {
	line := console(t)
	if _, err := line.Home(bound(t)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := line.Picture(&b); err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	colours := map[color.Color]bool{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			colours[img.At(x, y)] = true
		}
	}
	if len(colours) < 3 {
		t.Errorf("%d colours", len(colours))
	}
}

// A line carries 11,520 bytes a second, and keeps letters whole that arrive in pieces.
func TestALineIsAsSlowAsItSays(t *testing.T) {
	here, there := net.Pipe()
	line := serial.New(here)
	defer line.Close()
	begun := time.Now()
	const size = serial.Baud / 10 // a second of the line
	go func() {
		for range size/4 - 1 {
			_, _ = there.Write([]byte("abc\r"))
		}
		for _, b := range []byte("\r\né\u00a0fin") {
			_, _ = there.Write([]byte{b})
		}
	}()
	if _, err := line.Await(bound(t), "é fin"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 900*time.Millisecond {
		t.Errorf("%d bytes came in %v", size, took)
	}
	_ = there.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := line.Await(ctx, "never said"); err == nil || !serial.IsGone(err) {
		t.Errorf("the end of the line: %v", err)
	}
}
