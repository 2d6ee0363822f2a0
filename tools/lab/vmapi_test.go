package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestUpStopsWhenAMachineGoesOff has a QEMU that ended at once, with its last words.
func TestUpStopsWhenAMachineGoesOff(t *testing.T) {
	dir, err := os.MkdirTemp("", "lab") // the path of a socket is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	lab := Lab{Version: 1, Mode: "vm", Dir: dir, Socket: filepath.Join(dir, "lab.sock"), TokenFile: filepath.Join(dir, "token")}
	for _, name := range names[:2] {
		m := Machine{Name: name, Mode: "vm", Dir: filepath.Join(dir, name), API: "https://127.0.0.1:1"}
		lab.Nodes = append(lab.Nodes, m)
		if err := os.Mkdir(m.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(m.Dir, "qemu.log"), []byte("of an earlier life\nqemu: no firmware for "+name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(lab.TokenFile, []byte("t\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", lab.Socket)
	if err != nil {
		t.Fatal(err)
	}
	daemon := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })}
	go func() { _ = daemon.Serve(l) }()
	t.Cleanup(func() { _ = daemon.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = settleVMs(ctx, lab, io.Discard)
	if err == nil || ctx.Err() != nil {
		t.Fatalf("it waited for machines that are off (%v)", err)
	}
	for _, want := range []string{"node a went off", "qemu: no firmware for a", filepath.Join(dir, "a", "qemu.log"), program(lab) + " serial a"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestTheTailOfALog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for _, tc := range []struct{ text, want string }{{"", "(nothing)"}, {"a\n", "a"}, {"a\nb\nc\n", "b\nc"}} {
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := tail(file, 2); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.text, got, tc.want)
		}
	}
}
