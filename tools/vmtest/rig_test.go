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

// citizens file reports until the end of the test.
func citizens(t *testing.T, p *vmpair.Pair) *filing.Filer {
	t.Helper()
	f := filing.New(p.Citizen)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx, 50*time.Millisecond) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !t.Failed() {
			t.Errorf("citizens: %v", err)
		}
	})
	return f
}

// goOn waits until three reports that were begun after an instant are acknowledged.
func goOn(t *testing.T, f *filing.Filer, since time.Time) {
	t.Helper()
	for limit := time.Now().Add(seenBound); ; time.Sleep(50 * time.Millisecond) {
		all := f.Taken()
		if len(all) > 3 && all[len(all)-4].At.After(since) {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("no filing was acknowledged for %v", seenBound)
		}
	}
}

// readBack reads every acknowledged report, and returns how many there were.
func readBack(t *testing.T, f *filing.Filer) int {
	t.Helper()
	all := f.Taken()
	if err := f.Check(within(t, quietBound), all); err != nil {
		t.Fatal(err)
	}
	return len(all)
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

// monitor is QEMU's of a node.
func (s *service) monitor(t *testing.T, node string) *qmp.Monitor {
	t.Helper()
	m, err := qmp.Open(within(t, seenBound), s.Node(node).QMP, qmp.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}
