package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/fence"
	"beffroi.dev/appliance/socket"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/quorum/raftnode"
	"beffroi.dev/pkg/task"
	"beffroi.dev/pkg/transport"
)

const (
	// beat is the time between two looks at what has changed by time alone.
	beat = 25 * time.Millisecond
	// firstOrderBound is how long the first order waits for reports.
	firstOrderBound = time.Second
	// claimBound is how long a claim may stay undecided before it is made anew.
	claimBound = 5 * time.Second
	// handOverBound is how long a planned stop waits for another leader.
	handOverBound = time.Second
	// stopBound is how long a stop waits for the goroutines.
	stopBound = 5 * time.Second
)

// Service is the running node service.
type Service struct {
	dir    config.Dir
	cfg    *config.Node
	timing lease.Timing
	clock  clock.Clock
	log    *slog.Logger

	mesh    *transport.Mesh
	node    *raftnode.Node
	votes   *votes
	orders  *orders
	reports *reports
	own     *guarded
	tasks   *task.Group
	wake    chan struct{} // a report came

	// Owned by the loop.
	init     *fence.Client
	told     fence.Renewal // what init was told last
	toldAt   clock.Instant
	born     clock.Instant
	claiming map[ident.VM]bool
	claimed  chan ident.VM // claims whose outcome is known
}

// Run runs the node service until ctx ends, or until it cannot go on. ready is
// called when the socket answers.
func Run(ctx context.Context, dir config.Dir, cfg *config.Node, sockets *socket.Set, ready func(), log *slog.Logger) error {
	if cfg.Me().Kind != cluster.KindNode {
		return errors.New("the witness has no node service, run the witness")
	}
	s, err := build(ctx, dir, cfg, clock.System{}, log)
	if err != nil {
		return err
	}
	l, err := sockets.Unix("node", dir.Socket("node"))
	if err != nil {
		return errors.Join(err, s.node.Close())
	}
	server := control.Serve(ctx, l, s.votes, s.orders, s, log)
	// The vote and the transport end after the loop has handed over leadership.
	after := context.WithoutCancel(ctx)
	s.node.Start(after)
	mux := s.route()
	s.mesh.Start(after, mux)
	s.tasks.Go("orders", s.loop)
	ready()
	select {
	case <-s.node.Done():
	case <-server.Done(): // also when ctx ends
	case <-s.tasks.Context().Done():
	}
	if ctx.Err() != nil {
		s.handOver()
	}
	if err := errors.Join(server.Close(), s.tasks.Stop(stopBound), s.mesh.Close(), s.node.Close()); err != nil {
		return fmt.Errorf("node service: %w", err)
	}
	return nil
}

func build(ctx context.Context, dir config.Dir, cfg *config.Node, clk clock.Clock, log *slog.Logger) (*Service, error) {
	timing, err := lease.Profile(cfg.Profile)
	if err != nil {
		return nil, err
	}
	key, err := config.LoadKey(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{dir.Run(), dir.Vote()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make state folder: %w", err)
		}
	}
	mesh, err := transport.New(cfg.VoteTransport(key), clk, log)
	if err != nil {
		return nil, err
	}
	held, err := raftnode.OpenLog(dir.Vote(), cfg.Self, cfg.Pair)
	if err != nil {
		return nil, err
	}
	send := (&transport.Mux{}).Sender(transport.ChannelVote, mesh)
	node, err := raftnode.New(raftnode.Config{Self: cfg.Self, Timing: timing, Joins: cfg.Joins}, held, cfg.Genesis(), send, clk, log)
	if err != nil {
		return nil, err
	}
	last, _ := fence.Kept(dir)
	limit := lease.NewFence(timing)
	if last.Ever {
		limit.Renew(last.Vouched)
	}
	now := clk.Now()
	s := &Service{
		dir: dir, cfg: cfg, timing: timing, clock: clk, log: log.With("room", "node"), mesh: mesh, node: node,
		orders: &orders{changed: make(chan struct{})}, reports: &reports{}, own: &guarded{claims: newClaims(limit, now)},
		tasks: task.New(ctx), wake: make(chan struct{}, 1), init: fence.NewClient(dir.Socket("init")), told: last, born: now,
		claiming: map[ident.VM]bool{}, claimed: make(chan ident.VM),
	}
	s.votes = &votes{
		voter: node, self: cfg.Self, clock: clk, own: s.own, tasks: s.tasks,
		open: map[promoted]*promotion{}, seeks: map[ident.Node]int{},
	}
	return s, nil
}

func (s *Service) route() *transport.Mux {
	mux := &transport.Mux{}
	mux.Route(transport.ChannelVote, s.node.Receive)
	return mux
}

// Take implements control.Reports.
func (s *Service) Take(name string, part []byte) error {
	now := s.clock.Now()
	if err := s.reports.take(name, part, now); err != nil {
		return err
	}
	if name == "vm" {
		state := s.node.State()
		for _, v := range s.reports.seen().vm.part {
			if alive(v) {
				s.own.do(func(c *claims) { c.found(now, v.ID, v.Generation, mayMove(state, s.cfg.Self, v.ID)) })
			}
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// Status implements control.Reports.
func (s *Service) Status() status.Node {
	vote := s.node.Status()
	cables, _ := status.LoadCables(s.dir.Cables()) // by hand there is no init that looks
	clk, err := status.LoadClock(s.dir.Clock())
	w := &whole{
		cables: cables, verdict: s.node.Clock(clk.Guess),

		cfg: s.cfg, now: s.clock.Now(), wall: s.clock.Wall(), state: s.node.State(), vote: vote,
		vouched: vote.Vouched >= 0 && vote.Vouched < s.timing.AddressDrop,
		paths:   s.mesh.Paths(), reports: s.reports.seen(), order: s.orders.newest(),
	}
	if err == nil { // by hand there is no init that could have done anything
		w.init = &clk
	}
	w.services, _ = status.LoadServices(s.dir.Services())
	w.stateFull = full(string(s.dir))
	return compose(w)
}

// full reports whether what is left of a file system for services is nothing worth
// counting on.
func full(dir string) bool {
	var f unix.Statfs_t
	return unix.Statfs(dir, &f) == nil && f.Blocks > 0 && f.Bavail < f.Blocks/100
}

// handOver gives leadership away before a planned stop, so that nobody waits for
// an election: to a voter that can be reached, a data node before the witness.
func (s *Service) handOver() {
	if s.node.Leader() != s.cfg.Self {
		return
	}
	var to ident.Node
	for _, p := range s.mesh.Paths() {
		if p.Up && (to == 0 || s.node.State().Nodes[p.Peer].Kind == cluster.KindNode) {
			to = p.Peer
		}
	}
	if to == 0 {
		return
	}
	s.log.Info("hand over leadership", "to", s.node.State().Nodes[to].Name)
	s.node.Transfer(to)
	for end := time.Now().Add(handOverBound); s.node.Leader() == s.cfg.Self && time.Now().Before(end); {
		time.Sleep(beat / 4)
	}
}

// guestFolder is where the vm service keeps a VM.
func (s *Service) guestFolder(name string) string { return filepath.Join(s.dir.Guests(), name) }
