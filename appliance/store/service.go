package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/socket"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/block/volume"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/task"
	"beffroi.dev/pkg/transport"
)

// Controller is the node service, as this one needs it.
type Controller interface {
	Watch(ctx context.Context, after uint64) (*cluster.State, error)
	Propose(ctx context.Context, do cluster.Action) (cluster.Result, error)
	Report(ctx context.Context, name string, part any) error
}

// Service is the running block service.
type Service struct {
	dir    config.Dir
	node   *config.Node
	ctl    Controller
	log    *slog.Logger
	engine *volume.Engine
	mesh   *transport.Mesh
	nbd    *nbd.Server
	begun  time.Time

	mu    sync.Mutex // guards state
	state *cluster.State
}

// stopBound is how long a stop waits for clients and the disk.
const stopBound = 10 * time.Second

// reportEvery is the longest time between two reports; a role that changes is
// reported at once.
const reportEvery = 200 * time.Millisecond

// Timing turns the pair's timing into the mirror's. A link that is cut while
// both nodes live must find the primary first at the vote, so that a group does
// not move without need: the peer waits two renewals longer.
func Timing(t lease.Timing) mirror.Timing {
	return mirror.Timing{
		Heartbeat: t.Renew, Lease: t.Lease, Grace: t.Grace + 2*t.Renew, Shrink: t.Renew, Evict: 5 * t.PathDead,
		Settle: t.PathDead, Retry: 3 * t.Renew, Hold: 15 * time.Second,
	}
}

// Parent is who started the service.
type Parent struct {
	Ready func() // the volumes can be served
	// Busy is called while the store recovers, not often: that takes as long as it
	// takes, and whoever waits is told how far it is.
	Busy func(status string)
}

// Run runs the block service until ctx ends.
func Run(ctx context.Context, dir config.Dir, n *config.Node, ctl Controller, sockets *socket.Set, parent Parent, log *slog.Logger) error {
	dev, err := openDevice(dir, n)
	if err != nil {
		return err
	}
	defer dev.Close()
	timing, err := lease.Profile(n.Profile)
	if err != nil {
		return err
	}
	key, err := config.LoadKey(dir)
	if err != nil {
		return err
	}
	twin, ok := n.Twin()
	if !ok {
		return errors.New("the witness has no block service")
	}
	s := &Service{dir: dir, node: n, ctl: ctl, log: log, begun: time.Now()}
	cfg := volume.Config{Pair: n.Pair, Self: n.Self, Peer: twin.ID, Timing: Timing(timing), Recovering: recovering(parent.Busy)}
	if s.engine, err = volume.Open(ctx, cfg, dev, clock.System{}, s.vote, log); err != nil {
		return err
	}
	defer func() {
		if err := s.engine.Close(); err != nil {
			log.Error("engine did not stop cleanly", "error", err)
		}
	}()
	if s.mesh, err = transport.New(n.DataTransport(key), clock.System{}, log); err != nil {
		return fmt.Errorf("data link: %w", err)
	}
	defer s.mesh.Close()
	s.engine.Connect(s.mesh)
	s.mesh.Start(ctx, s.engine)
	if s.nbd, err = nbd.NewServer(nbd.Config{}, exports{s}, log); err != nil {
		return err
	}
	return s.serve(ctx, sockets, parent.Ready)
}

// tellEvery is the time between two words about a recovery.
const tellEvery = time.Second

// recovering tells the parent how far it is, from time to time.
func recovering(busy func(string)) func(bytes int64) {
	var told time.Time
	return func(bytes int64) {
		if time.Since(told) >= tellEvery {
			told = time.Now()
			busy(fmt.Sprintf(status.Recovers, bytes>>20))
		}
	}
}

func (s *Service) serve(ctx context.Context, sockets *socket.Set, ready func()) error {
	tasks := task.New(ctx)
	listenNBD, err := sockets.Unix("nbd", s.dir.Socket("nbd"))
	if err != nil {
		return err
	}
	listenAPI, err := sockets.Unix("block", s.dir.Socket("block"))
	if err != nil {
		return err
	}
	api := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
	tasks.Go("nbd server", func(ctx context.Context) error { return s.nbd.Serve(ctx, listenNBD) })
	tasks.Go("block socket", func(context.Context) error {
		if err := api.Serve(listenAPI); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	tasks.Go("state watcher", s.watch)
	tasks.Go("reporter", s.report)
	tasks.Go("engine watch", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-s.engine.Failed():
			return errors.New("the mirror's engine stopped")
		}
	})
	ready()
	select {
	case <-ctx.Done():
	case <-tasks.Context().Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopBound)
	defer cancel()
	_ = s.nbd.Close(bound)
	_ = api.Shutdown(bound)
	return tasks.Stop(stopBound)
}

// watch hands each newer voted state to the engine.
func (s *Service) watch(ctx context.Context) error {
	after := uint64(0)
	for ctx.Err() == nil {
		st, err := s.ctl.Watch(ctx, after)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("watching the voted state failed", "error", err)
				pause(ctx, 200*time.Millisecond)
			}
			continue
		}
		after = st.Index
		s.mu.Lock()
		s.state = st
		s.mu.Unlock()
		s.engine.Configure(Specs(st), st.Next.Group)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Specs turns the voted state into what the mirror is told.
func Specs(st *cluster.State) []mirror.GroupSpec {
	tokens := map[ident.Group]uint64{}
	for _, vm := range st.VMs {
		tokens[vm.Group] = max(tokens[vm.Group], vm.Generation)
	}
	var out []mirror.GroupSpec
	for id := ident.Group(1); id < st.Next.Group; id++ {
		g, ok := st.Groups[id]
		if !ok {
			continue
		}
		c := g.Config
		spec := mirror.GroupSpec{ID: id, Token: tokens[id], Local: st.Service.Group == id, Conf: frame.Conf{
			Epoch: c.Epoch, Primary: c.Primary, InSync: c.InSync, CutEpoch: c.Cut.Epoch, CutSeq: c.Cut.Seq, Lineage: c.Lineage,
		}}
		for _, v := range g.Volumes {
			spec.Volumes = append(spec.Volumes, mirror.VolumeSpec{ID: v.ID, Size: v.SizeBytes})
		}
		out = append(out, spec)
	}
	return out
}

// vote asks the voters for what the mirror proposes.
func (s *Service) vote(ctx context.Context, p mirror.Proposal) mirror.Outcome {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	do := &cluster.Reconfigure{
		Group: p.Group, Base: p.Base, Kind: cluster.ChangeKind(p.Kind), By: s.node.Self, Cause: causes[p.Kind],
		New: cluster.Config{
			Epoch: p.Conf.Epoch, Primary: p.Conf.Primary, InSync: p.Conf.InSync,
			Cut: cluster.Cut{Epoch: p.Conf.CutEpoch, Seq: p.Conf.CutSeq}, Lineage: p.Conf.Lineage,
		},
	}
	if p.Kind == mirror.Grow {
		twin, _ := s.node.Twin()
		do.Replica = twin.Replica
	}
	_, err := s.ctl.Propose(ctx, do)
	switch {
	case err == nil:
		return mirror.Chosen
	case !errors.Is(err, cluster.ErrRefused):
		s.log.Info("proposal without an answer", "group", p.Group, "kind", p.Kind, "error", err)
		return mirror.Unknown
	}
	s.mu.Lock()
	moved := s.state != nil && s.state.Groups[p.Group].Config.Epoch > p.Base
	s.mu.Unlock()
	if moved {
		return mirror.Stale
	}
	s.log.Info("proposal refused", "group", p.Group, "kind", p.Kind, "error", err)
	return mirror.Refused
}

var causes = map[mirror.ProposalKind]string{
	mirror.Shrink:  "the twin does not answer",
	mirror.Grow:    "the twin holds everything again",
	mirror.Promote: "the primary does not answer",
	mirror.Switch:  "planned switch",
	mirror.Restart: "the primary started again",
}
