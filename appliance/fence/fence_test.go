package fence_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/fence"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/task"
	"golang.org/x/sys/unix"
)

func TestWhatAGuardWantsDone(t *testing.T) {
	// Lab: the address drops after 500 ms, the fence passes after 3 s.
	guest := []fence.Guest{{Name: "x", Folder: "/vm/x"}}
	ms := func(n int) clock.Instant { return clock.Instant(time.Duration(n) * time.Millisecond) }
	held := fence.Renewal{Vouched: ms(1000), Ever: true, Guests: guest, Address: true}
	free := fence.Renewal{Vouched: ms(1000), Ever: true, Guests: guest}
	fresh := fence.Renewal{Vouched: ms(40000), Ever: true, Guests: guest, Address: true}
	type step struct {
		at      int
		renew   *fence.Renewal
		guests  int
		citizen bool
	}
	for _, tt := range []struct {
		name  string
		begin fence.Renewal
		steps []step
	}{
		{"nothing was ever renewed", fence.Renewal{}, []step{{0, nil, 0, false}, {9000, nil, 0, false}}},
		{"in time", held, []step{{1499, nil, 0, false}}},
		{"the address goes first, once; then the guests, again and again", held, []step{
			{1500, nil, 0, true}, {1510, nil, 0, false}, {3999, nil, 0, false}, {4000, nil, 1, false}, {4010, nil, 1, false}}},
		{"an address that was let go costs nobody his life", held, []step{{1450, &free, 0, false}, {1600, nil, 0, false}, {4000, nil, 1, false}}},
		{"a renewal after a freeze excuses nothing", held, []step{{40010, &fresh, 1, true}, {40020, nil, 0, false}, {40500, nil, 0, true}}},
		{"a renewal without anybody's word changes no deadline", held, []step{
			{1400, &fence.Renewal{Guests: guest, Address: true, Vouched: ms(9000)}, 0, false}, {1500, nil, 0, true}, {4000, nil, 1, false}}},
		{"guests of a former life that nobody vouches for", fence.Renewal{Guests: guest}, []step{{0, nil, 1, false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := fence.NewGuard(lease.Lab(), tt.begin)
			for _, s := range tt.steps {
				var w fence.Work
				if s.renew != nil {
					w = g.Renew(*s.renew, ms(s.at))
				} else {
					w = g.Due(ms(s.at))
				}
				if len(w.Guests) != s.guests || w.Citizen != s.citizen {
					t.Errorf("at %d ms: %d guests, citizen %v; want %d, %v", s.at, len(w.Guests), w.Citizen, s.guests, s.citizen)
				}
			}
		})
	}
}

func TestARestartedNodeServiceLosesNoDeadline(t *testing.T) {
	g := fence.NewGuard(lease.Lab(), fence.Renewal{Vouched: 1000, Ever: true, Address: true})
	g.Renew(fence.Renewal{Guests: []fence.Guest{{Name: "x", Folder: "/x"}}}, 2000)
	if r := g.Last(); !r.Ever || r.Vouched != 1000 || len(r.Guests) != 1 || r.Address {
		t.Errorf("kept %+v; want the old instant with the new lists", r)
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func stateFolder(t *testing.T) config.Dir {
	f, err := os.MkdirTemp("", "fen") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(f) })
	d := config.Dir(f)
	if err := os.MkdirAll(d.Run(), 0o700); err != nil {
		t.Fatal(err)
	}
	return d
}

// fakeQEMU is a process with a run.json; wrong moves its start time.
func fakeQEMU(t *testing.T, folder string, wrong uint64) chan error {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[strings.LastIndex(string(b), ")")+1:]))
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	run, _ := json.Marshal(map[string]any{"version": 1, "pid": cmd.Process.Pid, "start_time": start + wrong})
	if err := os.WriteFile(filepath.Join(folder, "run.json"), run, 0o600); err != nil {
		t.Fatal(err)
	}
	return ended
}

func TestOnlyTheProcessThatIsMeantIsKilled(t *testing.T) {
	right, other, empty := t.TempDir(), t.TempDir(), t.TempDir()
	ended, lives := fakeQEMU(t, right, 0), fakeQEMU(t, other, 1)
	if killed, err := fence.Kill(right); !killed || err != nil {
		t.Errorf("Kill = %v, %v; want it killed", killed, err)
	}
	<-ended
	for _, f := range []string{right, other, empty} {
		if killed, err := fence.Kill(f); killed || err != nil {
			t.Errorf("Kill = %v, %v; want nobody killed", killed, err)
		}
	}
	select {
	case <-lives:
		t.Error("a process of another start time was killed")
	default:
	}
	for _, text := range []string{"{", `{"pid":1}`, `{"pid":"x"}`, `{}`} {
		if err := os.WriteFile(filepath.Join(empty, "run.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if killed, err := fence.Kill(empty); killed || err != nil {
			t.Errorf("Kill of %s = %v, %v; want nobody killed: the lock is free", text, killed, err)
		}
		lock, err := os.Create(filepath.Join(empty, "run.lock"))
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		if killed, err := fence.Kill(empty); killed || err == nil {
			t.Errorf("Kill of %s = %v, %v; want an error: somebody lives", text, killed, err)
		}
		_ = lock.Close()
	}
}

func TestAGuestDiesWhenRenewalsStop(t *testing.T) {
	d := stateFolder(t)
	folder := t.TempDir()
	ended := fakeQEMU(t, folder, 0)
	timing := lease.Lab()
	tasks := task.New(t.Context())
	var citizen, drops, unwell atomic.Int32
	cfg := fence.Config{Dir: d, Timing: timing, KillCitizen: func() { citizen.Add(1) }, DropAddress: func() error {
		if drops.Add(1) < 3 {
			return errors.New("the kernel keeps the address")
		}
		return nil
	}, Beat: func(ok bool) {
		if !ok {
			unwell.Add(1)
		}
	}}
	tasks.Go("watch", func(ctx context.Context) error { return fence.Watch(ctx, cfg, nil, clock.System{}, quiet()) })
	defer func() {
		if err := tasks.Stop(5 * time.Second); err != nil {
			t.Error(err)
		}
	}()
	c := fence.NewClient(d.Socket("init"))
	defer c.Close()
	clk := clock.System{}
	var last clock.Instant
	for sent := 0; sent < 10; time.Sleep(100 * time.Millisecond) {
		last = clk.Now()
		if c.Send(fence.Renewal{Vouched: last, Ever: true, Guests: []fence.Guest{{Name: "x", Folder: folder}}, Address: true}) == nil {
			sent++
		}
		garbage(d)
	}
	if r, ok := fence.Kept(d); !ok || r.Vouched == 0 || len(r.Guests) != 1 {
		t.Errorf("kept %+v, %v; want the last renewal", r, ok)
	}
	select {
	case <-ended:
	case <-time.After(timing.Fence + timing.Margin):
		t.Fatal("the guest lives past its fence and margin")
	}
	took := clk.Now().Sub(last)
	t.Logf("profile lab: dead %v after the last vouched instant (fence %v, margin %v)", took.Round(time.Millisecond), timing.Fence, timing.Margin)
	if took < timing.Fence || took > timing.Fence+timing.Margin {
		t.Errorf("dead after %v; want between %v and %v", took, timing.Fence, timing.Fence+timing.Margin)
	}
	if kills, n, bad := citizen.Load(), drops.Load(), unwell.Load(); kills != 1 || n != 3 || bad != 2 {
		t.Errorf("citizen service killed %d times, address dropped %d times, and %d beats said that something is not well; want 1, and drops until one succeeds, the third time", kills, n, bad)
	}
}

// A fence that cannot strike is refused before it is relied on.
func TestAFenceWantsAllThatItStrikesWith(t *testing.T) {
	whole := fence.Config{Dir: stateFolder(t), Timing: lease.Lab(), KillCitizen: func() {}, DropAddress: func() error { return nil }, Beat: func(bool) {}}
	if err := whole.Validate(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(c *fence.Config){
		"no folder": func(c *fence.Config) { c.Dir = "" }, "no times": func(c *fence.Config) { c.Timing = lease.Timing{} },
		"nobody kills": func(c *fence.Config) { c.KillCitizen = nil }, "nobody drops": func(c *fence.Config) { c.DropAddress = nil },
		"nobody hears": func(c *fence.Config) { c.Beat = nil },
	} {
		c := whole
		spoil(&c)
		if c.Validate() == nil || fence.Linger(t.Context(), c, clock.System{}, quiet()) == nil || fence.Watch(t.Context(), c, nil, clock.System{}, quiet()) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// An init that was killed comes back, and cannot get as far as to listen again: what its
// former life had to kill in time is killed in time.
func TestAFormerLifesFencesAreExecuted(t *testing.T) {
	d := stateFolder(t)
	cfg := fence.Config{Dir: d, Timing: lease.Lab(), KillCitizen: func() {}, DropAddress: func() error { return nil }, Beat: func(bool) {}}
	if err := fence.Linger(t.Context(), cfg, clock.System{}, quiet()); err != nil {
		t.Fatalf("without a former life: %v", err)
	}
	folder := t.TempDir()
	ended := fakeQEMU(t, folder, 0)
	vouched := clock.System{}.Now()
	if err := fence.Keep(d, fence.Renewal{Vouched: vouched, Ever: true, Guests: []fence.Guest{{Name: "x", Folder: folder}}}); err != nil {
		t.Fatal(err)
	}
	tasks := task.New(t.Context())
	tasks.Go("linger", func(ctx context.Context) error { return fence.Linger(ctx, cfg, clock.System{}, quiet()) })
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the guest lives")
	}
	if took := (clock.System{}).Now().Sub(vouched); took < cfg.Timing.Fence {
		t.Errorf("dead %v after it was vouched for; its fence is %v", took, cfg.Timing.Fence)
	}
	if err := tasks.Stop(5 * time.Second); err != nil {
		t.Error(err)
	}
}

// garbage must be dropped.
func garbage(d config.Dir) {
	conn, err := net.Dial("unixgram", d.Socket("init"))
	if err != nil {
		return // not there yet
	}
	defer conn.Close()
	for _, text := range []string{"", "{", `{"vouched":9000000000000000000,"ever":true,"guests":[{"name":"x","folder":"../.."}]}`, `{"forever":true}`, strings.Repeat("x", 70<<10)} {
		_, _ = conn.Write([]byte(text)) // also refused by the kernel
	}
}
