package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/task"
	"beffroi.dev/pkg/transport"
)

// stopBound is how long Close waits for what is with the disk.
const stopBound = 30 * time.Second

// GCPercent is what a process that runs an Engine sets with debug.SetGCPercent.
// The twin's messages are large and short-lived beside a small heap: at the
// default of 100 the collector runs some forty times a second under load.
const GCPercent = 400

// readers is how many reads are with the device at once: enough to keep an NVMe
// disk busy from the 16 requests a guest's connection has in flight.
const readers = 16

// Vote asks the voters for a new configuration and returns what became of it.
// It may take long; the engine calls it on a goroutine of its own.
type Vote func(ctx context.Context, p mirror.Proposal) mirror.Outcome

// Config describes a node's engine.
type Config struct {
	Pair       ident.UUID
	Self, Peer ident.Node
	Timing     mirror.Timing
	SaveEvery  uint64 // frames between checkpoints; 0 takes the default
	// Recovering is told how far Open is; may be nil.
	Recovering seglog.Progress
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	err := mirror.Config{Self: c.Self, Peer: c.Peer, Timing: c.Timing}.Validate()
	if c.Pair.IsZero() {
		err = errors.Join(err, errors.New("pair identity is missing"))
	}
	return err
}

// Engine runs the mirror of one node over one device.
type Engine struct {
	cfg   Config
	dev   disk.Device
	clk   clock.Clock
	log   *slog.Logger
	vote  Vote
	tasks *task.Group

	mu      sync.Mutex // guards inbox, running, closed, net
	inbox   []event
	running bool // some goroutine has the turn
	closed  bool
	net     transport.Endpoint
	wake    chan struct{}

	// Of whoever has the turn.
	core   *mirror.Core
	spare  []event
	due    bool          // the state is to be published
	direct bool          // the frame writer has the turn
	handed *seglog.Write // what it shall write next

	writes chan *seglog.Write
	reads  chan *mirror.Read
	out    sync.WaitGroup // reads that were handed out

	pubMu   sync.Mutex // guards published, watchers
	status  Status
	changed chan struct{} // closed and replaced when status changed
}

const (
	evSubmit eventKind = iota
	evFrame
	evRead
	evMessage
	evSessionUp
	evSessionDown
	evCall
	evTick
)

// Open recovers the store on dev and starts the engine. It serves nothing until
// Configure has told it what was voted. dev stays the caller's.
func Open(ctx context.Context, cfg Config, dev disk.Device, clk clock.Clock, vote Vote, log *slog.Logger) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("engine configuration: %w", err)
	}
	l, rec, err := seglog.Open(dev, cfg.Pair, cfg.Recovering)
	if err != nil {
		return nil, err
	}
	mc := mirror.Config{Self: cfg.Self, Peer: cfg.Peer, Timing: cfg.Timing, SaveEvery: cfg.SaveEvery}
	core, err := mirror.Open(mc, l, rec, clk.Now(), log)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, dev: dev, clk: clk, log: log, vote: vote, core: core, tasks: task.New(ctx),
		wake: make(chan struct{}, 1), writes: make(chan *seglog.Write, 1), reads: make(chan *mirror.Read, 4096), changed: make(chan struct{}),
	}
	e.publish()
	e.tasks.Go("mirror loop", e.loop)
	e.tasks.Go("frame writer", e.writer)
	for range readers {
		e.tasks.Go("block reader", e.reader)
	}
	return e, nil
}

// Connect gives the engine its way to the twin. Handler's calls may come before.
func (e *Engine) Connect(net transport.Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.net = net
}

// Close stops the engine and answers what is undecided with disk.ErrClosed. The
// device can be closed afterwards.
func (e *Engine) Close() error {
	err := e.tasks.Stop(stopBound)
	for waiting := true; waiting; { // reads that no reader took
		select {
		case <-e.reads:
			e.out.Done()
		default:
			waiting = false
		}
	}
	e.out.Wait() // buffers of reads belong to the device until it has answered
	for {
		e.mu.Lock()
		if e.running {
			e.mu.Unlock()
			time.Sleep(time.Millisecond)
			continue
		}
		e.closed = true
		left := e.inbox
		e.inbox = nil
		e.mu.Unlock()
		e.finish(left)
		return err
	}
}

// finish answers what the core holds and what was never handled.
func (e *Engine) finish(left []event) {
	e.core.Close()
	disk.Finish(e.core.Take().Done...)
	for _, ev := range left {
		for _, r := range ev.reqs {
			r.Err = disk.ErrClosed
		}
		disk.Finish(ev.reqs...)
	}
}

// Failed is closed, so to speak, when the engine stopped by itself.
func (e *Engine) Failed() <-chan struct{} { return e.tasks.Context().Done() }

// Control ignores control messages: the data link carries none.
func (e *Engine) Control(ident.Node, []byte) {}

// SessionUp is called by the transport.
func (e *Engine) SessionUp(_ ident.Node, session uint64, path string) {
	e.log.Info("link to the twin is up", "path", path, "session", session)
	e.post(event{kind: evSessionUp, session: session})
}

// Data is called by the transport.
func (e *Engine) Data(_ ident.Node, session uint64, msg []byte) {
	e.post(event{kind: evMessage, session: session, msg: msg})
}

// SessionDown is called by the transport.
func (e *Engine) SessionDown(_ ident.Node, session uint64, err error) {
	e.log.Warn("link to the twin is down", "session", session, "error", err)
	e.post(event{kind: evSessionDown, session: session})
}

// Configure tells the engine what was voted; see mirror.Core.Configure.
func (e *Engine) Configure(specs []mirror.GroupSpec, next ident.Group) {
	e.post(event{kind: evCall, call: func() {
		e.core.Configure(specs, next)
		e.publish()
	}})
}

// Group is what the node knows of one group at this moment, its lease included; Status
// may be a beat old. ok is false when the node does not know the group.
func (e *Engine) Group(ctx context.Context, id ident.Group) (s mirror.GroupStatus, ok bool, err error) {
	err = e.call(ctx, func() { s, ok = e.core.Status(id) })
	return s, ok, err
}

// Switch hands a group to another node and returns when the switch was begun,
// or why it cannot be.
func (e *Engine) Switch(ctx context.Context, id ident.Group, to ident.Node) error {
	var err error
	if cerr := e.call(ctx, func() { err = e.core.SwitchTo(id, to) }); cerr != nil {
		return cerr
	}
	return err
}
