package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/guest/vm"
)

// bench is a counter guest on a disk served by our own NBD server, which the test
// can take away.
type bench struct {
	t      *testing.T
	server *nbd.Server
	vm     *vm.VM
	path   string
	socket string
	queue  *touchy

	mu   sync.Mutex // guards away
	away bool
}

// touchy is a queue that refuses when told, and looks for what guests promise.
type touchy struct {
	disk.Queue
	mu     sync.Mutex // guards err, lazy
	err    error
	lazy   int // writes that were not to be durable when done
	writes int
}

func (q *touchy) Submit(batch []*disk.Request) {
	q.mu.Lock()
	err := q.err
	for _, r := range batch {
		if r.Op == disk.Write {
			q.writes++
			if r.Flags&disk.FUA == 0 {
				q.lazy++
			}
		}
	}
	q.mu.Unlock()
	if err == nil {
		q.Queue.Submit(batch)
		return
	}
	for _, r := range batch {
		r.Err = err
		disk.Finish(r)
	}
}

func (q *touchy) set(err error) {
	q.mu.Lock()
	q.err = err
	q.mu.Unlock()
}

func (b *bench) Open(name string) (nbd.Export, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return nbd.Export{}, disk.ErrClosed
	}
	return nbd.Export{Name: name, Queue: b.queue}, nil
}

func (b *bench) List() []string { return []string{"counter"} }

// withdraw takes the export away, or brings it back.
func (b *bench) withdraw(away bool) {
	b.mu.Lock()
	b.away = away
	b.mu.Unlock()
	if away {
		if err := b.server.Drain(context.Background(), "counter"); err != nil {
			b.t.Errorf("drain: %v", err)
		}
	}
}

func newBench(t *testing.T) *bench {
	need(t, "qemu-system-x86_64")
	dir, err := os.MkdirTemp("", "cg") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, path: filepath.Join(dir, "disk"), socket: filepath.Join(dir, "nbd")}
	if err := run([]string{"-o", b.path}, io.Discard); err != nil {
		t.Fatal(err)
	}
	dev, err := disk.OpenFile(b.path)
	if err != nil {
		t.Fatal(err)
	}
	workers := disk.NewQueue(context.Background(), dev, 4)
	b.queue = &touchy{Queue: workers}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	if b.server, err = nbd.NewServer(nbd.Config{}, b, log); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", b.socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = b.server.Serve(context.Background(), l) }()
	if b.vm, err = vm.Open(vm.Config{Name: "counter", Dir: filepath.Join(dir, "vm"), ShutdownWait: 10 * time.Second}, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = b.vm.ForceOff(context.Background())
		_ = b.vm.Close()
		_ = b.server.Close(context.Background())
		<-served
		_ = errors.Join(workers.Close(), dev.Close(), os.RemoveAll(dir))
	})
	spec := qemu.Spec{
		Name: "counter", UUID: "0b5e1f6e-7a3c-4d1e-9a77-0123456789ab", CPUs: 1, MemoryMB: 32, Firmware: qemu.BIOS, Accel: qemu.TCG,
		Disks: []qemu.Disk{{Socket: b.socket, Export: "counter", Serial: "counter-0"}},
	}
	if err := b.vm.Start(context.Background(), spec); err != nil {
		t.Fatal(err)
	}
	return b
}

var number = regexp.MustCompile(`(?m)^counter (\d+)\r?\n`)

// last is the last number on the serial line.
func (b *bench) last() int {
	out, err := b.vm.SerialTail()
	if err != nil {
		b.t.Fatal(err)
	}
	all := number.FindAllSubmatch(out, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(string(all[len(all)-1][1]))
	return n
}

// counts waits until the guest has counted to n.
func (b *bench) counts(n int) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); b.last() < n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s, _ := b.vm.Status()
			b.t.Fatalf("the guest stays at %d, want %d; it is %s (%s)", b.last(), n, s.State, s.Cause)
		}
	}
}

func (b *bench) await(want vm.State) vm.Status {
	b.t.Helper()
	for end := time.After(20 * time.Second); ; {
		s, changed := b.vm.Status()
		if s.State == want {
			return s
		}
		select {
		case <-changed:
		case <-end:
			b.t.Fatalf("it is %s (%s); want %s", s.State, s.Cause, want)
		}
	}
}

// durable compares the disk with what was said.
func (b *bench) durable() {
	b.t.Helper()
	said := b.last()
	if n, err := counter(b.path); err != nil || int(n) < said {
		b.t.Errorf("the disk holds %d (%v); %d was printed", n, err, said)
	}
}

func TestTheGuestGoesOnWhenItsServerComesBack(t *testing.T) {
	b := newBench(t)
	b.counts(10)
	for range 3 {
		b.withdraw(true)
		at := b.last()
		time.Sleep(500 * time.Millisecond)
		if now := b.last(); now > at+1 {
			t.Errorf("it counted from %d to %d without a disk", at, now)
		}
		b.withdraw(false)
		b.counts(at + 10)
	}
	s, _ := b.vm.Status()
	if s.State != vm.Running || len(s.History) != 2 {
		t.Errorf("it noticed: %+v", s.History)
	}
	b.durable()
	b.queue.mu.Lock()
	defer b.queue.mu.Unlock()
	if b.queue.lazy > 0 || b.queue.writes < 30 {
		t.Errorf("%d of %d writes were not to be durable when done", b.queue.lazy, b.queue.writes)
	}
}

func TestADiskErrorStopsTheGuestUntilItContinues(t *testing.T) {
	b := newBench(t)
	b.counts(10)
	b.queue.set(disk.ErrNoSpace)
	s := b.await(vm.PausedIO)
	t.Logf("paused: %s", s.Cause)
	at := b.last()
	b.queue.set(nil)
	time.Sleep(200 * time.Millisecond)
	if b.last() != at {
		t.Error("it went on by itself")
	}
	if err := b.vm.Continue(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.counts(at + 10)
	if out, _ := b.vm.SerialTail(); regexp.MustCompile(`write failed`).Match(out) {
		t.Error("the guest saw the error")
	}
	b.durable()
}

func TestThePowerButtonEndsTheGuest(t *testing.T) {
	b := newBench(t)
	b.counts(10)
	if err := b.vm.ShutDown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s, _ := b.vm.Status(); s.State != vm.Stopped {
		t.Errorf("it is %s (%s); want stopped", s.State, s.Cause)
	}
	if out, _ := b.vm.SerialTail(); !regexp.MustCompile(`power off at \d+`).Match(out) {
		t.Errorf("its last words: %q", out[max(0, len(out)-60):])
	}
	b.durable()
}
