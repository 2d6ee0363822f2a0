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

type eventKind uint8

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

// event is one thing that happened; which fields count depends on the kind.
type event struct {
	kind    eventKind
	group   ident.Group
	volume  ident.Volume
	token   uint64
	reqs    []*disk.Request
	req     *disk.Request // a batch of one
	frame   *seglog.Write
	read    *mirror.Read
	session uint64
	msg     []byte
	err     error
	call    func()
}

// Open recovers the store on dev and starts the engine. It serves nothing until
// Configure has told it what was voted. dev stays the caller's.
func Open(ctx context.Context, cfg Config, dev disk.Device, clk clock.Clock, vote Vote, log *slog.Logger) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("engine configuration: %w", err)
	}
	l, rec, err := seglog.Open(dev, cfg.Pair)
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

// post puts an event into the mailbox, and takes the turn if nobody has it: the
// goroutine that brings work also does it, since waking another one costs more
// than the work.
func (e *Engine) post(ev event) bool {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return false
	}
	e.inbox = append(e.inbox, ev)
	if e.running {
		e.mu.Unlock()
		return true // whoever has the turn takes it
	}
	e.running = true
	e.mu.Unlock()
	e.turn(false)
	return true
}

// turn handles what is in the mailbox until it is empty. Only one goroutine has
// the turn. The frame writer (direct) leaves as soon as it has a frame to write;
// the loop goes on with the rest.
func (e *Engine) turn(direct bool) *seglog.Write {
	for {
		e.mu.Lock()
		w := e.handed
		if len(e.inbox) == 0 || w != nil {
			rest := len(e.inbox) > 0
			e.handed, e.running = nil, false
			e.mu.Unlock()
			if rest {
				select {
				case e.wake <- struct{}{}:
				default:
				}
			}
			return w
		}
		batch := e.inbox
		e.inbox = e.spare[:0]
		e.mu.Unlock()
		e.direct = direct
		e.core.SetNow(e.clk.Now())
		for i := range batch {
			e.handle(&batch[i])
		}
		clear(batch)
		e.spare = batch
		e.act()
	}
}

// call runs f on the loop and waits for it.
func (e *Engine) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !e.post(event{kind: evCall, call: func() { f(); close(done) }}) {
		return disk.ErrClosed
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.tasks.Context().Done():
		return disk.ErrClosed
	}
}

// loop lets time pass, and takes the turn when it was left with work to do.
func (e *Engine) loop(ctx context.Context) error {
	tick := time.NewTicker(e.cfg.Timing.Heartbeat / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			e.post(event{kind: evTick})
		case <-e.wake:
			e.mu.Lock()
			mine := !e.running && !e.closed
			e.running = e.running || mine
			e.mu.Unlock()
			if mine {
				e.turn(false)
			}
		}
	}
}

func (e *Engine) handle(ev *event) {
	switch ev.kind {
	case evSubmit:
		if ev.req != nil {
			e.core.Submit(ev.group, ev.volume, ev.token, []*disk.Request{ev.req})
		} else {
			e.core.Submit(ev.group, ev.volume, ev.token, ev.reqs)
		}
	case evFrame:
		e.core.FrameDone(ev.frame, ev.err)
	case evRead:
		e.core.ReadDone(ev.read)
	case evMessage:
		e.core.Receive(ev.session, ev.msg)
	case evSessionUp:
		e.core.SessionUp(ev.session)
	case evSessionDown:
		e.core.SessionDown(ev.session)
	case evCall:
		ev.call()
	case evTick:
		e.core.Tick(e.clk.Now())
		e.due = true
	}
}

// act does what the core asks for, until it asks for nothing.
func (e *Engine) act() {
	for {
		r := e.core.Take()
		if r.Write == nil && r.Save == nil && len(r.Reads)+len(r.Sends)+len(r.Proposals)+len(r.Done) == 0 {
			break
		}
		// One frame is in flight at a time, so neither place is taken.
		switch {
		case r.Write == nil:
		case e.direct:
			e.handed = r.Write
		default:
			e.writes <- r.Write
		}
		if len(r.Sends) > 0 {
			e.send(r.Sends)
		}
		for _, d := range r.Done {
			d.Done(d)
		}
		for _, rd := range r.Reads {
			e.startRead(rd)
		}
		for _, p := range r.Proposals {
			e.tasks.Go("proposal", func(ctx context.Context) error {
				out := e.vote(ctx, p)
				e.post(event{kind: evCall, call: func() { e.core.ProposalDone(p, out) }})
				return nil
			})
		}
		if s := r.Save; s != nil {
			e.tasks.Go("checkpoint", func(context.Context) error {
				err := s.Write(e.dev)
				e.post(event{kind: evCall, call: func() { e.core.SaveDone(s, err) }})
				return nil
			})
		}
	}
	if e.due {
		e.due = false
		e.publish()
	}
}

func (e *Engine) send(sends []mirror.Send) {
	e.mu.Lock()
	net := e.net
	e.mu.Unlock()
	if net == nil {
		return
	}
	for _, s := range sends {
		if !net.Send(e.cfg.Peer, s.Session, s.Parts...) {
			// The queue to the twin is over its bound, or the session ended: either
			// way nothing more of this session may follow what was dropped.
			e.core.SessionDown(s.Session)
			return
		}
	}
}

func (e *Engine) startRead(r *mirror.Read) {
	e.out.Add(1)
	select {
	case e.reads <- r:
	default:
		// More reads than the queue holds: one goroutine more serves this one.
		e.tasks.Go("block reader", func(context.Context) error { e.read(r); return nil })
	}
}

// writer writes frames. When nobody else has the turn it takes it with the news
// that its frame is durable, and so has the next frame without waking anyone.
func (e *Engine) writer(ctx context.Context) error {
	durable, _ := e.dev.(interface {
		WriteDurable(p []byte, off int64) error
	})
	for {
		var w *seglog.Write
		select {
		case <-ctx.Done():
			return nil
		case w = <-e.writes:
		}
		for w != nil {
			var err error
			if durable != nil {
				err = durable.WriteDurable(w.Buf, w.Off)
			} else if _, err = e.dev.WriteAt(w.Buf, w.Off); err == nil {
				err = e.dev.Sync()
			}
			w = e.written(event{kind: evFrame, frame: w, err: err})
		}
	}
}

// written posts the end of a frame and returns the next one, if it is at hand.
func (e *Engine) written(ev event) *seglog.Write {
	e.mu.Lock()
	e.inbox = append(e.inbox, ev)
	mine := !e.running && !e.closed
	e.running = e.running || mine
	e.mu.Unlock()
	if !mine {
		return nil
	}
	return e.turn(true)
}

func (e *Engine) reader(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-e.reads:
			e.read(r)
		}
	}
}

func (e *Engine) read(r *mirror.Read) {
	_, r.Err = e.dev.ReadAt(r.Buf, int64(r.Loc)*disk.BlockSize)
	r.Check()
	e.post(event{kind: evRead, read: r})
	e.out.Done()
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
	for _, d := range e.core.Take().Done {
		d.Done(d)
	}
	for _, ev := range left {
		reqs := ev.reqs
		if ev.req != nil {
			reqs = []*disk.Request{ev.req}
		}
		for _, r := range reqs {
			r.Err = disk.ErrClosed
			r.Done(r)
		}
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

// Configure tells the engine what was voted. Groups that are not in specs were
// deleted.
func (e *Engine) Configure(specs []mirror.GroupSpec) {
	e.post(event{kind: evCall, call: func() {
		known := map[ident.Group]bool{}
		for _, s := range specs {
			known[s.ID] = true
			e.core.Configure(s)
		}
		for _, id := range e.core.Groups() {
			if !known[id] {
				e.core.Drop(id)
			}
		}
		e.publish()
	}})
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
