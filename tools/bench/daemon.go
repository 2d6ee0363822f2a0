package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"time"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/block/volume"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/transport"
)

// The pair of the benchmark: fixed identities, one group, a configuration that
// never changes. Store, mirror, transport and NBD server are the product's.
var benchPair = ident.UUID{0xbe}

const (
	nodeA = ident.Node(1)
	nodeB = ident.Node(2)
)

func benchKey(n ident.Node) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(fmt.Sprintf("benchmark node %d", n)))
	return ed25519.NewKeyFromSeed(seed[:])
}

type daemonFlags struct {
	self         ident.Node
	store, sock  string
	listen, peer string // addresses; empty for a store without a twin
	size         int64
}

func parseDaemon(args []string) (f daemonFlags, err error) {
	fs := flag.NewFlagSet("daemon", flag.ContinueOnError)
	fs.Uint64Var((*uint64)(&f.self), "self", 1, "1 or 2")
	fs.StringVar(&f.store, "store", "", "file of the store")
	fs.StringVar(&f.sock, "sock", "", "NBD socket")
	fs.StringVar(&f.listen, "listen", "", "address of the link")
	fs.StringVar(&f.peer, "peer", "", "address of the twin's link")
	fs.Int64Var(&f.size, "size", 0, "bytes of the volume")
	return f, fs.Parse(args)
}

// daemon is one node: a store, its link, its NBD server.
func daemon(ctx context.Context, args []string) error {
	f, err := parseDaemon(args)
	if err != nil {
		return err
	}
	debug.SetGCPercent(volume.GCPercent)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	dev, err := disk.OpenFile(f.store)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := seglog.Format(dev, seglog.Identity{Pair: benchPair, Replica: ident.NewUUID()}, uint64(ident.NewNode())); err != nil {
		return err
	}
	peer := nodeA + nodeB - f.self
	second := time.Second // the machine may stall; nothing fails over here
	cfg := volume.Config{Pair: benchPair, Self: f.self, Peer: peer, SaveEvery: 1 << 40, Timing: mirror.Timing{
		Heartbeat: 100 * time.Millisecond, Lease: 10 * second, Grace: 3600 * second, Shrink: 3600 * second, Evict: 3600 * second,
		Retry: second, Hold: 60 * second,
	}}
	vote := func(context.Context, mirror.Proposal) mirror.Outcome { return mirror.Unknown }
	e, err := volume.Open(ctx, cfg, dev, clock.System{}, vote, log)
	if err != nil {
		return err
	}
	defer e.Close()
	conf := frame.Conf{Epoch: 1, Primary: nodeA, InSync: []ident.Node{nodeA}, Lineage: 1}
	if f.peer != "" {
		conf.InSync = []ident.Node{nodeA, nodeB}
		mesh, err := transport.New(transport.Config{
			Self: f.self, Pair: benchPair, Key: benchKey(f.self), Data: true, DataPaths: []string{"fibre1"}, Timing: transport.DefaultTiming(),
			Listen: []transport.Path{{Name: "fibre1", Addr: f.listen}},
			Peers:  []transport.Peer{{ID: peer, PublicKey: benchKey(peer).Public().(ed25519.PublicKey), Paths: []transport.Path{{Name: "fibre1", Addr: f.peer}}}},
		}, clock.System{}, log)
		if err != nil {
			return err
		}
		defer mesh.Close()
		e.Connect(mesh)
		mesh.Start(ctx, e)
	}
	e.Configure([]mirror.GroupSpec{{ID: 1, Conf: conf, Volumes: []mirror.VolumeSpec{{ID: 1, Size: f.size}}}}, 2)
	srv, err := nbd.NewServer(nbd.Config{}, benchExports{e.Volume(1, 1, f.size, 0)}, log)
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", f.sock)
	if err != nil {
		return err
	}
	return srv.Serve(ctx, l)
}

type benchExports struct{ q disk.Queue }

func (b benchExports) Open(string) (nbd.Export, error) { return nbd.Export{Name: "v", Queue: b.q}, nil }
func (b benchExports) List() []string                  { return []string{"v"} }
