package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/quorum/timekeeper"
	"beffroi.dev/pkg/task"
	"beffroi.dev/pkg/transport"
)

const (
	// inboxSize bounds the messages that wait for the loop, which may be waiting
	// for a flush. Beyond it they are dropped: raft sends again.
	inboxSize = 1024
	// batchSize is how many waiting events one turn of the loop takes: they share
	// one flush.
	batchSize = 128
	// stopBound is how long Close waits for the loop: one slow flush.
	stopBound = 10 * time.Second
)

// ErrStopped is returned by everything that waits when the node stops.
var ErrStopped = errors.New("vote stopped")

// Config configures a Node.
type Config struct {
	Self          ident.Node
	Timing        lease.Timing
	Seed          uint64 // of the election jitter; 0: drawn
	SnapshotEvery uint64 // 0: the default
	// Joins says that this voter was voted in to take a lost one's place: a blank
	// store stays blank until the leader fills it, and the genesis only names members.
	Joins bool
}

// Status describes a Node.
type Status struct {
	Self     ident.Node    `json:"self"`
	Standing Standing      `json:"standing"`
	Applied  uint64        `json:"applied"`
	Dropped  uint64        `json:"dropped"` // messages dropped, damaged or too many
	Vouched  time.Duration `json:"vouched"` // how long ago a majority vouched for this node; -1: never
}

type inbound struct {
	from ident.Node
	msg  []byte
}

// Node is the engine: one loop owns the Voter and the Store.
type Node struct {
	cfg   Config
	log   *slog.Logger
	clock clock.Clock
	send  transport.ControlSender
	store Store
	voter *Voter // owned by the loop
	tasks *task.Group

	vouch   sync.Mutex // guards renewal
	renewal *Renewal

	wall   sync.Mutex // guards keeper
	keeper timekeeper.Keeper

	inbox     chan inbound
	proposals chan []byte
	transfers chan ident.Node
	dropped   atomic.Uint64
	standing  atomic.Pointer[Standing]
	state     atomic.Pointer[cluster.State]

	mu      sync.Mutex // guards all below
	waiting map[cluster.ProposalID]chan cluster.Result
	changed chan struct{} // closed and replaced when state is
}

// New starts from what the store holds; a blank one gets the genesis, which
// must be the same on all voters. The store belongs to the node from now on,
// also after an error.
func New(cfg Config, store Store, genesis *cluster.State, send transport.ControlSender, clk clock.Clock, log *slog.Logger) (*Node, error) {
	n, err := build(cfg, store, genesis, send, clk, log)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return n, nil
}

func build(cfg Config, store Store, genesis *cluster.State, send transport.ControlSender, clk clock.Clock, log *slog.Logger) (*Node, error) {
	if err := cfg.Timing.Validate(); err != nil {
		return nil, fmt.Errorf("vote configuration: %w", err)
	}
	held, err := store.Restore()
	if err != nil {
		return nil, fmt.Errorf("restore votes: %w", err)
	}
	if held.Snapshot == nil && !cfg.Joins {
		first, err := Genesis(genesis)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(store.Persist(first), held.Apply(first)); err != nil {
			return nil, fmt.Errorf("begin the vote log: %w", err)
		}
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	voter, err := NewVoter(VoterConfig{
		Core:          CoreConfig{Self: cfg.Self, ElectionTicks: cfg.Timing.ElectionTicks, HeartbeatTicks: cfg.Timing.HeartbeatTicks, Joins: cfg.Joins, Seed: cfg.Seed},
		SnapshotEvery: cfg.SnapshotEvery, Until: genesis.Clone(),
	}, held)
	if err != nil {
		return nil, err
	}
	s := voter.State()
	if s.Pair != genesis.Pair {
		return nil, fmt.Errorf("%w: pair %v, ours is %v", ErrLogOwner, s.Pair, genesis.Pair)
	}
	n := &Node{
		cfg: cfg, log: log.With("room", "raftnode"), clock: clk, send: send, store: store, voter: voter,
		inbox: make(chan inbound, inboxSize), proposals: make(chan []byte, batchSize), transfers: make(chan ident.Node, 1),
		waiting: map[cluster.ProposalID]chan cluster.Result{}, changed: make(chan struct{}),
	}
	n.renewal = NewRenewal(cfg.Self, s, cfg.Timing, clk.Now())
	st := voter.Standing()
	n.standing.Store(&st)
	n.state.Store(s.Clone())
	return n, nil
}

// Start begins to vote. It is called once, when the transport can be used.
func (n *Node) Start(ctx context.Context) {
	n.tasks = task.New(ctx)
	n.tasks.Go("vote", n.loop)
	n.tasks.Go("wall", n.tellWall)
	if n.renewal.Asks() {
		n.tasks.Go("renew", n.renew)
	}
}

// Close stops voting and closes the store.
func (n *Node) Close() error {
	var err error
	if n.tasks != nil {
		err = n.tasks.Stop(stopBound)
	}
	if err := errors.Join(err, n.store.Close()); err != nil {
		return fmt.Errorf("close vote: %w", err)
	}
	return nil
}

// Done is closed when the node stops, by Close or because it had to; Close then
// tells why. Before Start it is nil.
func (n *Node) Done() <-chan struct{} {
	if n.tasks == nil {
		return nil
	}
	return n.tasks.Context().Done()
}

// Receive takes a message of the vote channel. It never blocks.
func (n *Node) Receive(from ident.Node, msg []byte) {
	if IsRenewal(msg) {
		n.receiveRenewal(from, msg)
		return
	}
	if len(msg) > 0 && msg[0] == tagWall {
		n.receiveWall(from, msg[1:])
		return
	}
	if len(msg) > 0 && msg[0] == tagRaft {
		select {
		case n.inbox <- inbound{from, msg[1:]}:
			return
		default:
		}
	}
	n.dropped.Add(1)
}

// State is the newest state: shared, not to be changed.
func (n *Node) State() *cluster.State { return n.state.Load() }

// Watch waits for a state with a higher index than after, and returns the
// newest; those between may be skipped.
func (n *Node) Watch(ctx context.Context, after uint64) (*cluster.State, error) {
	for {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		if s := n.state.Load(); s.Index > after {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-n.Done():
			return nil, ErrStopped
		case <-changed:
		}
	}
}

// Leader is the leader that this voter follows; zero when it knows none.
func (n *Node) Leader() ident.Node { return n.standing.Load().Leader }

// Status describes the node now.
func (n *Node) Status() Status {
	st := Status{Self: n.cfg.Self, Standing: *n.standing.Load(), Applied: n.State().Index, Dropped: n.dropped.Load(), Vouched: -1}
	if since, ok := n.Vouched(); ok {
		st.Vouched = n.clock.Now().Sub(since)
	}
	return st
}

// Transfer hands leadership to another voter, if this one leads: before a
// planned stop, so that nobody waits for an election.
func (n *Node) Transfer(to ident.Node) {
	select {
	case n.transfers <- to:
	default:
	}
}

// Propose proposes until the outcome is known here or ctx ends; then the
// outcome is unknown, and the proposal may still take effect. The error wraps
// cluster.ErrRefused when the rules refused it.
func (n *Node) Propose(ctx context.Context, do cluster.Action) (cluster.Result, error) {
	id := cluster.ProposalID{Node: n.cfg.Self, Random: rand.Uint64()}
	c := cluster.Command{ID: id, WallMS: n.clock.Wall().UnixMilli(), Do: do}
	b, err := c.Encode()
	if err != nil {
		return cluster.Result{}, err
	}
	answer := make(chan cluster.Result, 1)
	n.mu.Lock()
	n.waiting[id] = answer
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.waiting, id)
		n.mu.Unlock()
	}()
	// The same proposal again and again: a lost message, a lost leader or no
	// leader at all look alike, and its identity makes it take effect once.
	again := time.NewTicker(time.Duration(n.cfg.Timing.ElectionTicks) * n.cfg.Timing.Tick)
	defer again.Stop()
	for {
		select {
		case n.proposals <- b:
		default: // the loop is behind; the next turn will do
		}
		select {
		case r := <-answer:
			return r, r.Err()
		case <-ctx.Done():
			return cluster.Result{}, fmt.Errorf("proposal undecided: %w", ctx.Err())
		case <-n.Done():
			return cluster.Result{}, fmt.Errorf("proposal undecided: %w", ErrStopped)
		case <-again.C:
		}
	}
}
