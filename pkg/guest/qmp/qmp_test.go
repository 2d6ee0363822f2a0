package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/guest/qmp"
)

// fake is a QEMU monitor that answers as it is told.
func fake(t *testing.T, answer func(cmd string, id uint64, say func(string))) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "qmp")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		say := func(s string) { _, _ = nc.Write([]byte(s + "\r\n")) }
		say(`{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}`)
		for s := bufio.NewScanner(nc); s.Scan(); {
			var c struct {
				Execute string `json:"execute"`
				ID      uint64 `json:"id"`
			}
			if err := json.Unmarshal(s.Bytes(), &c); err != nil {
				t.Errorf("the monitor was sent %q", s.Text())
			}
			if c.Execute == "qmp_capabilities" {
				say(fmt.Sprintf(`{"return": {}, "id": %d}`, c.ID))
				continue
			}
			answer(c.Execute, c.ID, say)
		}
	}()
	return socket
}

func open(t *testing.T, socket string, cfg qmp.Config) *qmp.Monitor {
	t.Helper()
	m, err := qmp.Open(context.Background(), socket, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func TestRepliesFindTheirCommand(t *testing.T) {
	m := open(t, fake(t, func(cmd string, id uint64, say func(string)) {
		say(`{"return": {"status": "late"}, "id": 999}`) // of a command that gave up
		say(`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}`)
		switch cmd {
		case "query-status":
			say(fmt.Sprintf(`{"return": {"status": "io-error", "running": false}, "id": %d}`, id))
		case "announce-self":
			say(fmt.Sprintf(`{"return": {}, "id": %d}`, id))
		case "query-block":
			say(fmt.Sprintf(`{"return": [{"qdev": "/d", "io-status": "nospace", "inserted": {"node-name": "disk0", "image": {"virtual-size": 512}}}], "id": %d}`, id))
		default:
			say(fmt.Sprintf(`{"error": {"class": "GenericError", "desc": "no"}, "id": %d}`, id))
		}
	}), qmp.Config{})
	ctx := context.Background()
	if s, err := m.Status(ctx); s != qmp.IOError || err != nil {
		t.Errorf("Status = %q, %v; want io-error", s, err)
	}
	if b, err := m.Blocks(ctx); err != nil || len(b) != 1 || b[0] != (qmp.Block{Device: "/d", Node: "disk0", Status: "nospace", Size: 512}) {
		t.Errorf("Blocks = %+v, %v", b, err)
	}
	if err := m.Announce(ctx); err != nil {
		t.Errorf("Announce = %v", err)
	}
	if err := m.Cont(ctx); !errors.Is(err, qmp.ErrCommand) || !strings.Contains(err.Error(), "no") {
		t.Errorf("Cont = %v; want the refusal", err)
	}
	if m.Version() != "7.2.22" {
		t.Errorf("Version = %s", m.Version())
	}
	if pid, err := m.PID(); pid != os.Getpid() || err != nil {
		t.Errorf("PID = %d, %v; want our own", pid, err)
	}
}

func TestAnAnswerLargerThanAScannersDefaultIsRead(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	m := open(t, fake(t, func(_ string, id uint64, say func(string)) {
		say(fmt.Sprintf(`{"return": %q, "id": %d}`, long, id))
	}), qmp.Config{})
	got, err := m.Command(context.Background(), "query-qmp-schema", nil)
	if err != nil || len(got) != len(long)+2 {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(long)+2)
	}
}

func TestEventsThatNobodyReadsDelayNothing(t *testing.T) {
	m := open(t, fake(t, func(_ string, id uint64, say func(string)) {
		for i := range 1000 {
			say(fmt.Sprintf(`{"event": "E%d", "data": {}, "timestamp": {"seconds": 1, "microseconds": 2}}`, i))
		}
		say(fmt.Sprintf(`{"return": {"status": "running"}, "id": %d}`, id))
	}), qmp.Config{})
	if s, err := m.Status(context.Background()); s != qmp.Running || err != nil {
		t.Fatalf("Status = %q, %v", s, err)
	}
	events, _ := m.Events(context.Background())
	_ = m.Close()
	last := ""
	for e := range events {
		last = e.Event
	}
	if last != "E999" {
		t.Errorf("the last event is %q; want the newest, E999", last)
	}
}

func TestACommandHasADeadlineAndTheNextOneWorks(t *testing.T) {
	hang := true
	m := open(t, fake(t, func(_ string, id uint64, say func(string)) {
		if hang {
			hang = false
			return
		}
		say(fmt.Sprintf(`{"return": {"status": "paused"}, "id": %d}`, id))
	}), qmp.Config{Timeout: 50 * time.Millisecond})
	if err := m.Stop(context.Background()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop = %v; want the deadline", err)
	}
	if s, err := m.Status(context.Background()); s != qmp.Paused || err != nil {
		t.Errorf("Status = %q, %v; want paused", s, err)
	}
}

func TestTheEndOfQemuEndsCommandsAndEvents(t *testing.T) {
	m := open(t, fake(t, func(_ string, _ uint64, say func(string)) { say("this is not JSON") }), qmp.Config{})
	go func() { time.Sleep(20 * time.Millisecond); _ = m.Close() }()
	if err := m.Quit(context.Background()); !errors.Is(err, qmp.ErrClosed) {
		t.Errorf("Quit = %v; want ErrClosed", err)
	}
	<-m.Done()
	if _, err := m.Status(context.Background()); !errors.Is(err, qmp.ErrClosed) {
		t.Errorf("Status = %v; want ErrClosed", err)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte(`{"event": "STOP", "data": {"a": 1}, "timestamp": {"seconds": 1, "microseconds": 2}}`))
	f.Add([]byte(`{"return": {"status": "running"}, "id": 2}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		socket := filepath.Join(t.TempDir(), "q")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Skip(err)
		}
		defer l.Close()
		go func() {
			if nc, err := l.Accept(); err == nil {
				_, _ = nc.Write([]byte("{\"QMP\": {}}\n{\"return\": {}, \"id\": 1}\n"))
				_, _ = nc.Write(append(line, '\n'))
				_ = nc.Close()
			}
		}()
		m, err := qmp.Open(context.Background(), socket, qmp.Config{Timeout: time.Second}, slog.New(slog.DiscardHandler))
		if err != nil {
			return
		}
		_, _ = m.Status(context.Background())
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
