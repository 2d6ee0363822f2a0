package volume_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/block/volume"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/disktest"
	"beffroi.dev/pkg/disk/simdisk"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/transport"
)

const (
	nodeA = ident.Node(1)
	nodeB = ident.Node(2)
	size  = 4 << 20
)

var pair = ident.UUID{3}

func timing() mirror.Timing {
	return mirror.Timing{
		Heartbeat: 50 * time.Millisecond, Lease: 400 * time.Millisecond, Grace: 800 * time.Millisecond, Shrink: 200 * time.Millisecond,
		Evict: 3 * time.Second, Settle: 50 * time.Millisecond, Retry: 200 * time.Millisecond, Hold: 10 * time.Second,
	}
}

// court is the vote of a test: one register, compare and set.
type court struct {
	mu      sync.Mutex
	conf    frame.Conf
	engines map[ident.Node]*volume.Engine
}

func (c *court) spec() []mirror.GroupSpec {
	return []mirror.GroupSpec{{ID: 1, Conf: c.conf, Volumes: []mirror.VolumeSpec{{ID: 1, Size: size}}}}
}

func (c *court) vote(_ context.Context, p mirror.Proposal) mirror.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.Base != c.conf.Epoch {
		return mirror.Stale
	}
	c.conf = p.Conf
	for _, e := range c.engines {
		e.Configure(c.spec(), 2)
	}
	return mirror.Chosen
}

func (c *court) epoch() ident.Epoch {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conf.Epoch
}

func newCourt(insync ...ident.Node) *court {
	return &court{conf: frame.Conf{Epoch: 1, Primary: nodeA, InSync: insync, Lineage: 1}, engines: map[ident.Node]*volume.Engine{}}
}

// open starts the engine of a node over a device, formatted if it is new.
func (c *court) open(t *testing.T, self ident.Node, dev disk.Device) *volume.Engine {
	t.Helper()
	if _, err := seglog.ReadIdentity(dev); err != nil {
		if err := seglog.Format(dev, seglog.Identity{Pair: pair, Replica: ident.NewUUID()}, 7); err != nil {
			t.Fatal(err)
		}
	}
	cfg := volume.Config{Pair: pair, Self: self, Peer: nodeA + nodeB - self, Timing: timing()}
	e, err := volume.Open(t.Context(), cfg, dev, clock.System{}, c.vote, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.engines[self] = e
	e.Configure(c.spec(), 2)
	c.mu.Unlock()
	return e
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func serving(e *volume.Engine) func() bool {
	return func() bool {
		s, _ := e.Status()
		return len(s.Groups) == 1 && s.Groups[0].Serving && s.Groups[0].Readable
	}
}

func TestAVolumeIsADevice(t *testing.T) {
	disktest.Device(t, func(t *testing.T) disk.Device {
		c := newCourt(nodeA)
		e := c.open(t, nodeA, simdisk.New(seglog.MinSize))
		t.Cleanup(func() { _ = e.Close() })
		waitFor(t, "serving", serving(e))
		return disk.NewDevice(e.Volume(1, 1, size, 0))
	})
}

// link joins two engines over real connections on loopback.
func link(t *testing.T, engines map[ident.Node]*volume.Engine) (unlink func()) {
	t.Helper()
	addrs := map[ident.Node]string{}
	for _, n := range []ident.Node{nodeA, nodeB} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs[n] = l.Addr().String()
		_ = l.Close()
	}
	key := func(n ident.Node) ed25519.PrivateKey {
		seed := sha256.Sum256([]byte(fmt.Sprint(n)))
		return ed25519.NewKeyFromSeed(seed[:])
	}
	var all []*transport.Mesh
	for n, e := range engines {
		peer := nodeA + nodeB - n
		m, err := transport.New(transport.Config{
			Self: n, Pair: pair, Key: key(n), Data: true, DataPaths: []string{"fibre1"}, Timing: transport.DefaultTiming(),
			Listen: []transport.Path{{Name: "fibre1", Addr: addrs[n]}},
			Peers:  []transport.Peer{{ID: peer, PublicKey: key(peer).Public().(ed25519.PublicKey), Paths: []transport.Path{{Name: "fibre1", Addr: addrs[peer]}}}},
		}, clock.System{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		e.Connect(m)
		m.Start(t.Context(), e)
		all = append(all, m)
	}
	return func() {
		for _, m := range all {
			_ = m.Close()
		}
	}
}

// TestTwoEnginesMirrorForwardAndTakeOver walks through a pair's life: a write on
// each side is seen on both, the primary dies, the twin has everything, the dead
// one comes back with what changed.
func TestTwoEnginesMirrorForwardAndTakeOver(t *testing.T) {
	c := newCourt(nodeA, nodeB)
	devs := map[ident.Node]*simdisk.Disk{nodeA: simdisk.New(seglog.MinSize), nodeB: simdisk.New(seglog.MinSize)}
	a, b := c.open(t, nodeA, devs[nodeA]), c.open(t, nodeB, devs[nodeB])
	unlink := link(t, c.engines)
	waitFor(t, "a serves", serving(a))
	atA, atB := disk.NewDevice(a.Volume(1, 1, size, 0)), disk.NewDevice(b.Volume(1, 1, size, 0))
	model := make([]byte, size)
	rng := rand.New(rand.NewPCG(1, 2))
	scribble := func(dev disk.Device) {
		t.Helper()
		for range 40 {
			off := rng.Int64N(size - 20000)
			p := make([]byte, rng.IntN(20000)+1)
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			copy(model[off:], p)
			if _, err := dev.WriteAt(p, off); err != nil {
				t.Fatalf("write: %v", err)
			}
		}
	}
	holds := func(name string, dev disk.Device) {
		t.Helper()
		got := make([]byte, size)
		if _, err := dev.ReadAt(got, 0); err != nil || !bytes.Equal(got, model) {
			t.Fatalf("%s does not hold what was written (%v)", name, err)
		}
	}
	scribble(atA)
	scribble(atB) // forwarded to a
	holds("a", atA)
	holds("b, forwarded", atB)

	unlink()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	delete(c.engines, nodeA)
	waitFor(t, "b takes over", serving(b))
	holds("b alone", atB)
	scribble(atB)

	a = c.open(t, nodeA, devs[nodeA])
	unlink = link(t, c.engines)
	defer unlink()
	waitFor(t, "mirrored again", func() bool {
		s, _ := b.Status()
		return len(s.Groups) == 1 && s.Groups[0].Copies == 2
	})
	holds("a again, forwarded", disk.NewDevice(a.Volume(1, 1, size, 0)))
	before := c.epoch()
	if err := b.Switch(t.Context(), 1, nodeA); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the planned switch", func() bool { return c.epoch() > before && serving(a)() })
	holds("a, leading again", disk.NewDevice(a.Volume(1, 1, size, 0)))
	for _, e := range []*volume.Engine{a, b} {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestARottenBlockIsHealedFromTheTwin flips bits of stored blocks on the
// primary's device: reads are right all the same, and afterwards the primary
// holds the blocks again without its twin.
func TestARottenBlockIsHealedFromTheTwin(t *testing.T) {
	c := newCourt(nodeA, nodeB)
	devs := map[ident.Node]*simdisk.Disk{nodeA: simdisk.New(seglog.MinSize), nodeB: simdisk.New(seglog.MinSize)}
	a, b := c.open(t, nodeA, devs[nodeA]), c.open(t, nodeB, devs[nodeB])
	unlink := link(t, c.engines)
	waitFor(t, "a serves", serving(a))
	at := disk.NewDevice(a.Volume(1, 1, size, 0))
	want := bytes.Repeat([]byte("beffroi "), 8192)
	if _, err := at.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	rotten := 0
	block := make([]byte, disk.BlockSize)
	for off := int64(0); off < seglog.MinSize; off += disk.BlockSize {
		if _, err := devs[nodeA].ReadAt(block, off); err == nil && bytes.HasPrefix(block, want[:disk.BlockSize]) && rotten < 5 {
			devs[nodeA].Rot(off+100, 1)
			rotten++
		}
	}
	if rotten == 0 {
		t.Fatal("nothing to damage")
	}
	read := func(when string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := at.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: wrong data, or %v", when, err)
		}
	}
	read("with rotten blocks")
	waitFor(t, "healed", func() bool { s, _ := a.Status(); return s.Stats.Repaired >= uint64(rotten) && s.Groups[0].Pending == 0 })
	unlink()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	delete(c.engines, nodeB)
	waitFor(t, "a goes on alone", func() bool { s, _ := a.Status(); return s.Groups[0].Copies == 1 && s.Groups[0].Serving })
	read("alone, afterwards")
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestRequestsOfAClosedEngineEndAtOnce(t *testing.T) {
	c := newCourt(nodeA, nodeB) // b never comes, so a write stays undecided
	e := c.open(t, nodeA, simdisk.New(seglog.MinSize))
	done := make(chan error, 2)
	v := e.Volume(1, 1, size, 0)
	r := &disk.Request{Op: disk.Write, Len: 4096, Data: make([]byte, 4096), Done: func(r *disk.Request) { done <- r.Err }}
	v.Submit([]*disk.Request{r})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	late := &disk.Request{Op: disk.Read, Len: 1, Data: make([]byte, 1), Done: func(r *disk.Request) { done <- r.Err }}
	v.Submit([]*disk.Request{late})
	if err := <-done; err == nil {
		t.Error("a closed engine answered a read")
	}
}

// A node that starts hears its votes anew, oldest state first: one from before the
// group must not be taken for its deletion.
func TestAStateOlderThanAGroupDoesNotDropIt(t *testing.T) {
	c := newCourt(nodeA)
	dev := simdisk.New(seglog.MinSize)
	e := c.open(t, nodeA, dev)
	waitFor(t, "serving", serving(e))
	want := bytes.Repeat([]byte{7}, disk.BlockSize)
	if _, err := disk.NewDevice(e.Volume(1, 1, size, 0)).WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := volume.Config{Pair: pair, Self: nodeA, Peer: nodeB, Timing: timing()}
	e, err := volume.Open(t.Context(), cfg, dev, clock.System{}, c.vote, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.engines[nodeA] = e
	e.Configure(nil, 1) // the genesis: no group has been made yet
	e.Configure(c.spec(), 2)
	c.mu.Unlock()
	waitFor(t, "serving again", serving(e))
	got := make([]byte, disk.BlockSize)
	if _, err := disk.NewDevice(e.Volume(1, 1, size, 0)).ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("after the restart block 0 begins with %x (%v); the group was dropped", got[:4], err)
	}
	e.Configure(nil, 2) // it was made, and is gone
	waitFor(t, "dropped", func() bool { s, _ := e.Status(); return len(s.Groups) == 0 })
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
