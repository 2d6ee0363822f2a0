package guests_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/guests"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// node is a node service that says what the test wants.
type node struct {
	mu       sync.Mutex // guards all below
	state    *cluster.State
	order    control.Order
	news     chan struct{}
	reported []status.VM
	proposed []cluster.Action
	serving  bool
}

func (n *node) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	n.state.Index++
	n.order.Serial++
	close(n.news)
	n.news = make(chan struct{})
}

func (n *node) wait(ctx context.Context, ready func() bool) error {
	for {
		n.mu.Lock()
		ok, news := ready(), n.news
		n.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *node) Watch(ctx context.Context, after uint64) (s *cluster.State, err error) {
	err = n.wait(ctx, func() bool {
		s = n.state.Clone()
		return s.Index > after
	})
	return s, err
}

func (n *node) Order(ctx context.Context, after uint64) (o control.Order, err error) {
	err = n.wait(ctx, func() bool {
		o = n.order
		return o.Serial > after
	})
	return o, err
}

func (n *node) Propose(_ context.Context, do cluster.Action) (res cluster.Result, err error) {
	n.change(func() {
		n.proposed = append(n.proposed, do)
		res, err = cluster.Apply(n.state, cluster.Command{Do: do})
	})
	return res, err
}

func (n *node) Report(_ context.Context, name string, part any) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reported = part.([]status.VM)
	return nil
}

func (n *node) Status(context.Context) (status.Node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return status.Node{Store: &status.Store{Groups: []status.LocalGroup{{ID: 1, Primary: self, Serving: n.serving, Readable: n.serving}}}}, nil
}

// place is what the vote and the node service do together.
func (n *node) place(to ident.Node) {
	n.change(func() {
		v := n.state.VMs[1]
		if _, err := cluster.Apply(n.state, cluster.Command{Do: &cluster.PlaceVM{VM: 1, Base: v.Generation, Node: to}}); err != nil {
			panic(err)
		}
		n.order.Run = nil
		if to == self {
			n.order.Run = []control.VMOrder{{VM: 1, Generation: v.Generation + 1}}
		}
	})
}

func (n *node) vm() (status.VM, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.reported) == 0 {
		return status.VM{}, false
	}
	return n.reported[0], true
}

// rig is a node with a disk and a vm service.
type rig struct {
	*node
	t     *testing.T
	dir   config.Dir
	stop  func()
	queue *stubborn
}

// stubborn is a disk that refuses when told.
type stubborn struct {
	disk.Queue
	mu  sync.Mutex // guards err
	err error
}

func (q *stubborn) set(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
}

func (q *stubborn) Submit(batch []*disk.Request) {
	q.mu.Lock()
	err := q.err
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

// Open serves the disk to the current generation only, as the block service does.
func (r *rig) Open(name string) (nbd.Export, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if want := fmt.Sprintf("counter/disk0@%d", r.state.VMs[1].Generation); name != want {
		return nbd.Export{}, fmt.Errorf("%s is fenced, this is %s", name, want)
	}
	return nbd.Export{Name: name, Queue: r.queue}, nil
}

func (r *rig) List() []string { return nil }

func newRig(t *testing.T) *rig {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("BEFFROI_REQUIRE_TOOLS") == "1" {
			t.Fatalf("QEMU is required: %v", err)
		}
		t.Skip("qemu-system-x86_64 is not installed")
	}
	dir, err := os.MkdirTemp("", "gs") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: config.Dir(dir), stop: func() {}, node: &node{news: make(chan struct{}), serving: true}}
	r.state = cluster.New(ident.NewUUID(), map[ident.Node]cluster.Node{
		self: {Name: "a", Kind: cluster.KindNode, Replica: ident.NewUUID()}, twin: {Name: "b", Kind: cluster.KindNode, Replica: ident.NewUUID()},
	})
	r.serveDisk()
	for _, do := range []cluster.Action{
		&cluster.CreateGroup{Name: "counter", Preferred: self, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "disk0", SizeBytes: 1 << 20}}},
		&cluster.CreateVM{Name: "counter", Group: 1, CPUs: 1, MemoryMB: 64, Firmware: "bios", Run: true},
	} {
		if _, err := cluster.Apply(r.state, cluster.Command{Do: do}); err != nil {
			t.Fatal(err)
		}
	}
	r.state.Index, r.order.Serial = 1, 1
	t.Cleanup(func() {
		r.place(0)
		r.await("killed at the end", func() bool { v, ok := r.vm(); return !ok || v.PID == 0 })
		r.stop()
		_ = os.RemoveAll(dir)
	})
	return r
}

func (r *rig) serveDisk() {
	t := r.t
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	boot, err := os.ReadFile("../../tools/counterguest/boot.bin")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(string(r.dir), "disk")
	if err := os.WriteFile(path, append(boot, make([]byte, 1<<20-len(boot))...), 0o600); err != nil {
		t.Fatal(err)
	}
	dev, err := disk.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	workers := disk.NewQueue(context.Background(), dev, 2)
	r.queue = &stubborn{Queue: workers}
	server, err := nbd.NewServer(nbd.Config{}, r, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(r.dir.Run(), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", r.dir.Socket("nbd"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		_ = server.Close(context.Background())
		<-served
		_ = errors.Join(workers.Close(), dev.Close())
	})
}

// start starts the vm service.
func (r *rig) start() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	cfg := guests.Config{Dir: r.dir, Self: self, ShutdownWait: 10 * time.Second, OrderGrace: 2 * time.Second, RestartWait: 100 * time.Millisecond}
	go func() { ended <- guests.Run(ctx, cfg, r.node, slog.New(slog.NewTextHandler(r.t.Output(), nil))) }()
	r.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("vm service: %v", err)
		}
		r.change(func() { r.reported = nil })
		r.stop = func() {}
	}
}

func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			v, _ := r.vm()
			r.t.Fatalf("never %s; it is %+v", what, v)
		}
	}
}

// runs waits until it runs under a generation and counts on.
func (r *rig) runs(generation uint64) status.VM {
	r.t.Helper()
	r.await(fmt.Sprintf("running under generation %d", generation), func() bool {
		v, _ := r.vm()
		return v.State == "running" && v.Generation == generation
	})
	at := r.count()
	r.await("counting", func() bool { return r.count() > at })
	v, _ := r.vm()
	return v
}

var number = regexp.MustCompile(`(?m)^counter (\d+)\r?\n`)

// socket is a client of the service.
func (r *rig) socket() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", r.dir.Socket("vm"))
	}}}
}

// drain says that the node goes down.
func (r *rig) drain(ask string) (code int, alive []ident.VM) {
	r.t.Helper()
	resp, err := r.socket().Post("http://vm/v1/drain", "application/json", strings.NewReader(ask))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out guests.Draining
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			r.t.Fatal(err)
		}
	}
	return resp.StatusCode, out.Alive
}

// count asks for the last number on the serial line.
func (r *rig) count() int {
	resp, err := r.socket().Get("http://vm/v1/serial/counter?bytes=4096")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	all := number.FindAllSubmatch(b, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(string(all[len(all)-1][1]))
	return n
}

// gone tells whether a process has ended. One whose service was restarted stays a
// zombie here: its parent, this test, never waits for it.
func (r *rig) gone(pid int) func() bool {
	return func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || bytes.Contains(b, []byte(") Z "))
	}
}
