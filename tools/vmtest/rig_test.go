package vmtest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/guest/qmp"
	"beffroi.dev/tools/filing"
	"beffroi.dev/tools/vmpair"
)

// Bounds of what has no measure of its own: the machine may be slow and busy.
const (
	bootBound  = 10 * time.Minute
	seenBound  = 3 * time.Minute
	quietBound = 10 * time.Minute // until all is mirrored again
)

// root is the folder of the repository.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// image is the built image; a test without one is skipped, unless everything has to
// be there.
func image(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("boots virtual servers")
	}
	file := filepath.Join(root(t), "out", "image", "beffroi.img")
	if _, err := os.Stat(file); err != nil {
		if os.Getenv("BEFFROI_REQUIRE_TOOLS") != "" {
			t.Fatalf("%v (make image builds it)", err)
		}
		t.Skipf("%v (make image builds it)", err)
	}
	return file
}

// long skips a test that is not part of make test.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("BEFFROI_VM_TESTS") == "" {
		t.Skip("long: make vm-test runs it")
	}
}

// testLog is a test's log as a writer, and the screen at once: a boot is long.
type testLog struct{ t *testing.T }

func (w testLog) Write(b []byte) (int, error) {
	w.t.Helper()
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

var _ io.Writer = testLog{}

// pair boots one from blank disks. Whatever happens, nothing of it stays; what it
// said last is printed when the test fails.
func pair(t *testing.T) *vmpair.Pair {
	t.Helper()
	c := vmpair.Config{Bin: filepath.Join(root(t), "bin"), Image: image(t), StoreMB: 512, Out: testLog{t}}
	ctx, cancel := context.WithTimeout(t.Context(), bootBound)
	defer cancel()
	begun := time.Now()
	p, boots, err := vmpair.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.Tails())
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("power-on of both until citizens are served from a mirrored volume: %.1f s", time.Since(begun).Seconds())
	for i := range boots {
		if boots[i].Table, err = p.Table(ctx, boots[i].Node); err != nil {
			t.Fatal(err)
		}
		t.Log(boots[i])
	}
	return p
}

// within gives a step its bound.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("it took longer than %v", d))
	t.Cleanup(cancel)
	return ctx
}

// citizens file reports until the end of the test; a clerk reads the list.
type citizens struct {
	*filing.Filer
	clerk *filing.Clerk
	read  int // how many were read back by their codes
}

// filingPause is between two filings: a long test that files as fast as it can ends with
// thousands of reports to read.
const filingPause = 150 * time.Millisecond

func file(t *testing.T, p *vmpair.Pair) *citizens {
	t.Helper()
	clerk, err := filing.Hire(within(t, seenBound), p.Citizen, p.Enrol)
	if err != nil {
		t.Fatal(err)
	}
	c := &citizens{Filer: filing.New(p.Citizen), clerk: clerk}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, filingPause) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !t.Failed() {
			t.Errorf("citizens: %v", err)
		}
	})
	return c
}

// goOn waits until three reports that were sent after an instant are acknowledged.
func (c *citizens) goOn(t *testing.T, since time.Time) {
	t.Helper()
	for limit := time.Now().Add(seenBound); c.Since(since) < 3; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%d of 3 reports were acknowledged in %v", c.Since(since), seenBound)
		}
	}
}

// readBack reads the reports that were acknowledged since the last time by their
// codes, and has the clerk look that each one since the beginning is there once; it
// returns how many those are.
func (c *citizens) readBack(t *testing.T) int {
	t.Helper()
	all := c.Taken()
	if err := c.Check(within(t, quietBound), all[c.read:]); err != nil {
		t.Fatal(err)
	}
	c.read = len(all)
	if _, err := c.clerk.Audit(within(t, quietBound), c.Filer); err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// readAll reads all by their codes again, and the whole list.
func (c *citizens) readAll(t *testing.T) int {
	t.Helper()
	c.read = 0
	c.clerk.Forget()
	return c.readBack(t)
}

// do is a verb of the lab.
func do(t *testing.T, p *vmpair.Pair, args ...string) {
	t.Helper()
	if _, err := p.Do(args...); err != nil {
		t.Fatal(err)
	}
}

// settled waits until everything is mirrored and citizens are served; it returns by
// whom.
func settled(t *testing.T, p *vmpair.Pair) string {
	t.Helper()
	s, err := p.Settled(t.Context(), quietBound)
	if err != nil {
		t.Fatal(err)
	}
	return s.Citizen
}

// openMonitor is QEMU's of a node.
func openMonitor(t *testing.T, p *vmpair.Pair, node string) *qmp.Monitor {
	t.Helper()
	m, err := qmp.Open(within(t, seenBound), p.Node(node).QMP, qmp.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}
