package volume

import (
	"context"
	"time"

	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

type eventKind uint8

// event is one thing that happened; which fields count depends on the kind.
type event struct {
	kind    eventKind
	group   ident.Group
	volume  ident.Volume
	token   uint64
	reqs    []*disk.Request
	frame   *seglog.Write
	read    *mirror.Read
	session uint64
	msg     []byte
	err     error
	call    func()
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
		e.core.Submit(ev.group, ev.volume, ev.token, ev.reqs)
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
		disk.Finish(r.Done...)
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
