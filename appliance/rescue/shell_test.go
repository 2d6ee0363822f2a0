package rescue

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// A shell begins in a folder that is there and that it need not ask the kernel for,
// on a terminal that says what it is and how large.
func TestWhatAShellBeginsWith(t *testing.T) {
	t.Setenv("PWD", "/nowhere") // of this program, not of the shell
	t.Setenv("TERM", "linux")
	state := t.TempDir()
	for _, tt := range []struct{ name, dir, want string }{
		{"the state folder", state, state},
		{"before there is one", filepath.Join(state, "not yet"), "/"},
	} {
		told := filepath.Join(t.TempDir(), "told")
		term := bare(t)
		// What it was started with: a shell mends PWD by itself.
		shell := program(t, "tr '\\0' '\\n' </proc/$$/environ >"+told+"; pwd -P >>"+told+"; stty size >>"+told)
		if err := term.shell(t.Context(), shell, tt.dir); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		b, err := os.ReadFile(told)
		if err != nil {
			t.Fatal(err)
		}
		got := "\n" + string(b)
		for _, want := range []string{"PWD=" + tt.want, "HOME=" + tt.want, "TERM=vt100", tt.want, "24 80"} {
			if !strings.Contains(got, "\n"+want+"\n") {
				t.Errorf("%s: no %q in%s", tt.name, want, got)
			}
		}
	}
}

// A shell that cannot be used is no shell that somebody has left.
func TestAShellThatEndsAtOnceIsTold(t *testing.T) {
	err := bare(t).shell(t.Context(), program(t, "exit 3"), t.TempDir())
	if !errors.Is(err, errShellEnded) {
		t.Fatalf("got %v", err)
	}
	for l, want := range []string{"il s'est arrêté aussitôt lancé", "it ended as soon as it was started"} {
		m := model(Lang(l), healthy())
		m.Done(Result{Effect: Effect{Do: OpenShell}, Err: err})
		if got := m.View().Text(); !strings.Contains(got, want) || !strings.Contains(strings.Join(strings.Fields(got), " "), "exit status 3") {
			t.Errorf("not told:\n%s", got)
		}
	}
	if err := bare(t).shell(t.Context(), program(t, "exit 0"), t.TempDir()); err != nil {
		t.Errorf("a shell that was left at once: %v", err)
	}
}

// program is a shell of another kind: it reads no keys.
func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shell")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// bare is a terminal without a size, as a serial line is.
func bare(t *testing.T) *terminal {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	term := newTerminal(tty.Name())
	read := make(chan struct{})
	go func() { defer close(read); _, _ = io.Copy(io.Discard, master) }()
	t.Cleanup(func() { _ = term.Close(); _ = tty.Close(); _ = master.Close(); <-read })
	return term
}
