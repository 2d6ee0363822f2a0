package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"

	"github.com/google/go-cmp/cmp"
)

func dial(t testing.TB, cfg nbd.ClientConfig) *nbd.Client {
	t.Helper()
	cfg.Network = "unix"
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := nbd.Dial(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

// do submits one request and waits for it.
func do(q disk.Queue, r *disk.Request) error {
	var wg sync.WaitGroup
	wg.Add(1)
	if r.Len == 0 {
		r.Len = int64(len(r.Data))
	}
	r.Done = func(*disk.Request) { wg.Done() }
	q.Submit([]*disk.Request{r})
	wg.Wait()
	return r.Err
}

func TestEveryOperationReachesTheQueueThroughTheClient(t *testing.T) {
	m := newMemory(t, 64<<20)
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: m})
	c := dial(t, nbd.ClientConfig{Address: s.socket, Export: "v", Connections: 2})
	if c.Size() != m.Size() || c.ReadOnly() {
		t.Fatalf("size %d, read-only %v", c.Size(), c.ReadOnly())
	}
	big := make([]byte, 40<<20) // more than one payload
	rand.NewChaCha8([32]byte{2}).Read(big)
	steps := []disk.Request{
		{Op: disk.Write, Flags: disk.FUA, Off: 4096, Data: []byte("hello")},
		{Op: disk.Flush},
		{Op: disk.Write, Off: 1 << 20, Data: big},
		{Op: disk.Trim, Off: 8192, Len: 8192},
		{Op: disk.Zero, Flags: disk.NoHole, Off: 50 << 20, Len: 4096},
		{Op: disk.Cache, Off: 0, Len: 1 << 20},
	}
	for i := range steps {
		if err := do(c, &steps[i]); err != nil {
			t.Errorf("%v: %v", steps[i].Op, err)
		}
	}
	read := make([]byte, len(big))
	if err := do(c, &disk.Request{Op: disk.Read, Off: 1 << 20, Data: read}); err != nil || !bytes.Equal(read, big) {
		t.Errorf("a large read differs (%v)", err)
	}
	status := disk.Request{Op: disk.Status, Off: 0, Len: 12288}
	if err := do(c, &status); err != nil {
		t.Error(err)
	}
	want := []disk.Extent{{Len: 4096, Hole: true, Zero: true}, {Len: 4096}, {Len: 4096, Hole: true, Zero: true}}
	if diff := cmp.Diff(want, status.Extents); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if got := m.ops()[0]; got.Op != disk.Write || got.Flags != disk.FUA || got.Off != 4096 || got.Len != 5 {
		t.Errorf("the queue saw %+v; want the write with FUA", got)
	}
}

func TestErrorsComeBackAsTheyWent(t *testing.T) {
	m := newMemory(t, 1<<20)
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: m}, nbd.Export{Name: "ro", Queue: m, ReadOnly: true})
	c := dial(t, nbd.ClientConfig{Address: s.socket, Export: "v"})
	for _, want := range []error{disk.ErrNoSpace, disk.ErrNotSupported, disk.ErrReadOnly} {
		m.fail(want)
		for _, r := range []disk.Request{{Op: disk.Write, Data: make([]byte, 512)}, {Op: disk.Read, Data: make([]byte, 512)}} {
			if err := do(c, &r); !errors.Is(err, want) {
				t.Errorf("%v ended with %v; want %v", r.Op, err, want)
			}
		}
	}
	m.fail(disk.ErrTimeout)
	if err := do(c, &disk.Request{Op: disk.Flush}); err == nil {
		t.Error("a failed flush came back as a success")
	}
	m.fail(nil)
	if err := do(c, &disk.Request{Op: disk.Read, Off: 1 << 20, Data: make([]byte, 1)}); !errors.Is(err, disk.ErrOutOfRange) {
		t.Errorf("a read past the end ended with %v", err)
	}
	ro := dial(t, nbd.ClientConfig{Address: s.socket, Export: "ro"})
	if err := do(ro, &disk.Request{Op: disk.Write, Data: make([]byte, 512)}); !ro.ReadOnly() || !errors.Is(err, disk.ErrReadOnly) {
		t.Errorf("a write to a read-only export ended with %v", err)
	}
	_, err := nbd.Dial(context.Background(), nbd.ClientConfig{Network: "unix", Address: s.socket, Export: "absent"}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, nbd.ErrRefused) {
		t.Errorf("Dial of an unknown export = %v; want ErrRefused", err)
	}
}

func TestWritersGoOnWhileTheServerComesAndGoes(t *testing.T) {
	m := newMemory(t, 1<<20)
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: m})
	c := dial(t, nbd.ClientConfig{Address: s.socket, Export: "v", Connections: 3})
	var writers sync.WaitGroup
	stop := make(chan struct{})
	final := make([]byte, 16)
	for w := range 16 {
		writers.Go(func() {
			for i := byte(1); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := do(c, &disk.Request{Op: disk.Write, Flags: disk.FUA, Off: int64(w) * 4096, Data: bytes.Repeat([]byte{i}, 4096)}); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				final[w] = i
			}
		})
	}
	for round := range 20 {
		time.Sleep(10 * time.Millisecond)
		if round%2 == 0 { // withdrawn: requests meet ErrClosed
			m.fail(disk.ErrClosed)
			s.shelf.set(nbd.Export{Name: "v"})
			time.Sleep(10 * time.Millisecond)
			m.fail(nil)
			s.shelf.set(nbd.Export{Name: "v", Queue: m})
		} else if err := s.Drain(context.Background(), "v"); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	writers.Wait()
	for w, want := range final {
		got := make([]byte, 4096)
		if err := do(c, &disk.Request{Op: disk.Read, Off: int64(w) * 4096, Data: got}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, bytes.Repeat([]byte{want}, 4096)) {
			t.Errorf("block %d holds %d; its last acknowledged write is %d", w, got[0], want)
		}
	}
}

func TestAnOutageLongerThanTheHoldIsATimeout(t *testing.T) {
	m := newMemory(t, 1<<20)
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: m})
	c := dial(t, nbd.ClientConfig{Address: s.socket, Export: "v", Hold: 200 * time.Millisecond})
	s.shelf.set(nbd.Export{Name: "v"})
	if err := s.Drain(context.Background(), "v"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := do(c, &disk.Request{Op: disk.Flush}); !errors.Is(err, disk.ErrTimeout) {
		t.Errorf("a request in an outage ended with %v; want ErrTimeout", err)
	}
	if d := time.Since(start); d < 200*time.Millisecond {
		t.Errorf("it ended after %v, before its hold", d)
	}
	s.shelf.set(nbd.Export{Name: "v", Queue: m})
	c2 := dial(t, nbd.ClientConfig{Address: s.socket, Export: "v"})
	if err := do(c2, &disk.Request{Op: disk.Flush}); err != nil {
		t.Error(err)
	}
}

func TestCloseHasABoundAndRefusesWhatFollows(t *testing.T) {
	m := newMemory(t, 1<<20)
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: m})
	c := dial(t, nbd.ClientConfig{Address: s.socket, Export: "v"})
	resume := m.pause()
	ended := make(chan error, 1)
	c.Submit([]*disk.Request{{Op: disk.Flush, Done: func(r *disk.Request) { ended <- r.Err }}})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close with a request in flight = %v; want the deadline", err)
	}
	if err := <-ended; !errors.Is(err, disk.ErrClosed) {
		t.Errorf("the request ended with %v; want ErrClosed", err)
	}
	if err := do(c, &disk.Request{Op: disk.Flush}); !errors.Is(err, disk.ErrClosed) {
		t.Errorf("a request after Close ended with %v; want ErrClosed", err)
	}
	resume()
}

func TestTheClientWorksAgainstForeignServers(t *testing.T) {
	servers := map[string]func(dir, socket string) []string{
		"qemu-nbd": func(dir, socket string) []string {
			run(t, "qemu-img", "create", "-q", "-f", "raw", filepath.Join(dir, "d.raw"), "64M")
			return []string{"qemu-nbd", "-f", "raw", "-x", "v", "-t", "-e", "8", "-k", socket, filepath.Join(dir, "d.raw")}
		},
		"nbdkit": func(_, socket string) []string {
			return []string{"nbdkit", "-f", "-U", socket, "memory", "64M"}
		},
	}
	for name, args := range servers {
		t.Run(name, func(t *testing.T) {
			tool(t, name)
			dir := t.TempDir()
			socket := filepath.Join(dir, "s")
			argv := args(dir, socket)
			cmd := exec.Command(argv[0], argv[1:]...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			c := dial(t, nbd.ClientConfig{Address: socket, Export: "v", Connections: 2})
			data := make([]byte, 34<<20)
			rand.NewChaCha8([32]byte{3}).Read(data)
			dev := disk.NewDevice(c)
			if _, err := dev.WriteAt(data, 4096); err != nil {
				t.Fatal(err)
			}
			if err := dev.Sync(); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(data))
			if _, err := dev.ReadAt(got, 4096); err != nil || !bytes.Equal(got, data) {
				t.Errorf("what was read differs (%v)", err)
			}
			for _, r := range []disk.Request{{Op: disk.Trim, Len: 1 << 20}, {Op: disk.Zero, Len: 1 << 20}, {Op: disk.Status, Len: 1 << 20}, {Op: disk.Cache, Len: 4096}} {
				if err := do(c, &r); err != nil {
					t.Errorf("%v: %v", r.Op, err)
				}
			}
			hole := make([]byte, 8192)
			if _, err := dev.ReadAt(hole, 1<<20-8192); err != nil || !bytes.Equal(hole, make([]byte, 8192)) {
				t.Errorf("a hole reads as %x... (%v)", hole[:4], err)
			}
		})
	}
}

func TestDialGivesUpWithItsContext(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it never accepts
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	cfg := nbd.ClientConfig{Network: "unix", Address: socket, DialTimeout: 20 * time.Millisecond}
	if _, err := nbd.Dial(ctx, cfg, slog.New(slog.DiscardHandler)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial = %v; want the deadline", err)
	}
}

func TestAConfigurationReportsAllItsFaults(t *testing.T) {
	err := nbd.ClientConfig{Network: "ipx", Connections: 17, Hold: -1}.Validate()
	for _, want := range []string{"unix or tcp", "address", "1 to 16", "negative"} {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("Validate = %v; want it to mention %q", err, want)
		}
	}
}

func BenchmarkClientRandomWrites(b *testing.B) {
	s := serve(b, nbd.Config{}, nbd.Export{Name: "v", Queue: newMemory(b, 256<<20)})
	c := dial(b, nbd.ClientConfig{Address: s.socket, Export: "v"})
	const depth = 32
	slots := make(chan []byte, depth)
	for range depth {
		slots <- make([]byte, 4096)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		data := <-slots
		c.Submit([]*disk.Request{{
			Op: disk.Write, Flags: disk.FUA, Off: random.Int64N(65536) * 4096, Len: 4096, Data: data,
			Done: func(*disk.Request) { slots <- data },
		}})
	}
	for range depth {
		<-slots
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}
