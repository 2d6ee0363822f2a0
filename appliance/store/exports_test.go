package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/block/volume"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/simdisk"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

const (
	self, twin = ident.Node(1), ident.Node(2)
	townSize   = 4 << 20
)

// townRig is an engine with the citizens' group, behind a real NBD server.
type townRig struct {
	*Service
	t        *testing.T
	path     string
	accepted atomic.Int64
}

type counting struct {
	net.Listener
	n *atomic.Int64
}

func (c counting) Accept() (net.Conn, error) { c.n.Add(1); return c.Listener.Accept() }

func newTownRig(t *testing.T) *townRig {
	t.Helper()
	dev, pair, log := simdisk.New(seglog.MinSize), ident.UUID{3}, slog.New(slog.DiscardHandler)
	if err := seglog.Format(dev, seglog.Identity{Pair: pair, Replica: ident.NewUUID()}, 7); err != nil {
		t.Fatal(err)
	}
	tm := mirror.Timing{Heartbeat: 50 * time.Millisecond, Lease: 400 * time.Millisecond, Grace: 80 * time.Second, Shrink: 200 * time.Millisecond,
		Evict: 3 * time.Second, Settle: 50 * time.Millisecond, Retry: 200 * time.Millisecond, Hold: 10 * time.Second}
	undecided := func(context.Context, mirror.Proposal) mirror.Outcome { return mirror.Unknown }
	e, err := volume.Open(t.Context(), volume.Config{Pair: pair, Self: self, Peer: twin, Timing: tm}, dev, clock.System{}, undecided, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	st := &cluster.State{Service: cluster.Service{Group: 1}, Groups: map[ident.Group]cluster.Group{
		1: {ID: 1, Name: "citizen", Volumes: []cluster.Volume{{ID: 1, Name: "data", SizeBytes: townSize}}},
	}}
	r := &townRig{Service: &Service{engine: e, node: &config.Node{Self: self}, log: log, begun: time.Now(), state: st}, t: t, path: filepath.Join(t.TempDir(), "nbd")}
	srv, err := nbd.NewServer(nbd.Config{}, exports{r.Service}, log)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", r.path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(t.Context(), counting{l, &r.accepted}) }()
	t.Cleanup(func() { _ = srv.Close(context.Background()); <-served })
	return r
}

// lead lets an epoch be led; it returns since when this node leads, as the service asks.
func (r *townRig) lead(epoch ident.Epoch, primary ident.Node, set ...ident.Node) (since ident.Epoch) {
	r.t.Helper()
	r.engine.Configure([]mirror.GroupSpec{{ID: 1, Local: true, Volumes: []mirror.VolumeSpec{{ID: 1, Size: townSize}}, Conf: frame.Conf{
		Epoch: epoch, Primary: primary, InSync: set, Lineage: 1,
	}}}, 2)
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		g, ok, err := r.engine.Group(r.t.Context(), 1)
		if err != nil {
			r.t.Fatal(err)
		}
		if ok && g.Epoch == epoch && (primary != self || g.Readable) {
			return g.Since
		}
	}
	r.t.Fatalf("epoch %d is not led", epoch)
	return 0
}

func (r *townRig) open(export string) (disk.Device, error) {
	c, err := nbd.Dial(r.t.Context(), nbd.ClientConfig{Network: "unix", Address: r.path, Export: export, Connections: 1}, r.log)
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return disk.NewDevice(c), nil
}

func write(d disk.Device, b byte) error {
	_, err := d.WriteAt(bytes.Repeat([]byte{b}, disk.BlockSize), 0)
	return err
}

// The user of the citizens' volume keeps in its memory what it has read. Its client
// connects again by itself whenever its connection ends, and must not come back into a
// later reign: neither with what it begins then, nor with what was on its way.
func TestTheUserOfAReignThatIsOverIsClosedOut(t *testing.T) {
	r := newTownRig(t)
	if r.lead(1, self, self) != 1 || r.lead(2, self, self) != 1 {
		t.Fatal("two epochs of one node are one reign")
	}
	idle, err := r.open("citizen/data@1")
	if err != nil {
		t.Fatal(err)
	}
	busy, err := r.open("citizen/data@1")
	if err != nil {
		t.Fatal(err)
	}
	if err := write(idle, 1); err != nil {
		t.Fatalf("in its own reign: %v", err)
	}
	r.lead(3, twin, self, twin)
	inFlight := make(chan error, 1)
	go func() { inFlight <- write(busy, 7) }()
	before := r.accepted.Load()
	time.Sleep(300 * time.Millisecond)
	if n := r.accepted.Load() - before; n > 30 {
		t.Errorf("the client connected %d times while it was refused", n)
	}
	if since := r.lead(4, self, self); since != 4 {
		t.Fatalf("it leads since epoch %d", since)
	}
	if err := <-inFlight; !errors.Is(err, disk.ErrClosed) {
		t.Errorf("a write begun while the twin led: %v", err)
	}
	if err := write(idle, 9); !errors.Is(err, disk.ErrClosed) {
		t.Errorf("a write begun in the next reign: %v", err)
	}
	now, err := r.open("citizen/data@4")
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, disk.BlockSize)
	if _, err := now.ReadAt(b, 0); err != nil || b[0] != 1 {
		t.Errorf("the next reign reads %d, %v; want what the first acknowledged", b[0], err)
	}
}

func TestTheCitizensVolumeOpensToItsReignAlone(t *testing.T) {
	r := newTownRig(t)
	r.lead(1, self, self)
	for _, export := range []string{"citizen/data", "citizen/data@", "citizen/data@0", "citizen/data@2", "citizen/data@-1", "citizen/data@one"} {
		if _, err := r.open(export); !errors.Is(err, nbd.ErrRefused) {
			t.Errorf("%q: %v; want it refused", export, err)
		}
	}
	if names := (exports{r.Service}).List(); len(names) != 0 {
		t.Errorf("a list of exports names %v", names)
	}
	r.lead(2, twin, self, twin)
	for _, since := range []int{0, 1, 2} {
		if _, err := r.open(fmt.Sprintf("citizen/data@%d", since)); !errors.Is(err, nbd.ErrRefused) {
			t.Errorf("reign %d while the twin leads: %v; want it refused", since, err)
		}
	}
}
