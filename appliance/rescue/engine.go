package rescue

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"beffroi.dev/appliance/rescue/screen"
	"beffroi.dev/pkg/task"
)

// Bounds of the engine.
const (
	sourceEvery = time.Second
	sourceBound = 3 * time.Second  // of one Snapshot
	actBound    = 40 * time.Second // of an Action, the shell excepted
	retryAfter  = time.Second      // of a terminal that failed
	escapeAfter = 100 * time.Millisecond
	stopBound   = 3 * time.Second
)

// Options are how the console begins.
type Options struct {
	Lang  Lang
	ASCII bool
	// Screen says that the terminal is a screen, which has the kernel's own font.
	Screen bool
	Zone   *time.Location // nil: local
	Can    Can
	Leave  bool // Ctrl-C ends Run
	Log    *slog.Logger
}

// errLeave ends the engine because its reader asked for it.
var errLeave = errors.New("left")

// engine connects the Model with the world. Each field below the line is owned by
// one goroutine, or guards itself.
type engine struct {
	tty     io.ReadWriter
	source  Source
	actions Actions
	opt     Options

	keys    chan []screen.Key
	shots   chan Snapshot
	todo    chan Effect // one at a time: the Model sees to it
	logs    chan Effect
	results chan Result
	paused  atomic.Bool   // a shell has the terminal
	quiet   chan struct{} // the reader has seen that

	mu   sync.Mutex // guards next
	next frame
	news chan struct{}
}

// frame is what the writer should show; flags add up while it is busy.
type frame struct {
	buffer            *screen.Buffer
	ascii, heal, anew bool
}

// Run shows the console on tty until ctx ends. A Read of tty may return nothing
// after a while; while it blocks for ever, Run ends without it. A tty that fails is
// used again a second later.
func Run(ctx context.Context, tty io.ReadWriter, source Source, actions Actions, opt Options) error {
	if opt.Zone == nil {
		opt.Zone = time.Local
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	e := &engine{
		tty: tty, source: source, actions: actions, opt: opt,
		keys: make(chan []screen.Key), shots: make(chan Snapshot), todo: make(chan Effect, 4), logs: make(chan Effect, 1),
		results: make(chan Result), quiet: make(chan struct{}, 1), news: make(chan struct{}, 1),
	}
	tasks := task.New(ctx)
	tasks.Go("keys", e.read)
	tasks.Go("terminal", e.write)
	tasks.Go("source", e.ask)
	tasks.Go("actions", e.act)
	tasks.Go("logs", e.tail)
	tasks.Go("console", e.own)
	err := tasks.Wait(ctx, stopBound)
	if errors.Is(err, errLeave) {
		return nil
	}
	return err
}

// own is the only goroutine that touches the Model.
func (e *engine) own(ctx context.Context) error {
	m := NewModel(e.opt.Lang, e.opt.Zone, time.Now(), e.opt.Can)
	m.ASCII, m.ownFont = e.opt.ASCII, e.opt.Screen
	clock := time.NewTicker(time.Second)
	defer clock.Stop()
	e.show(m, false, true)
	for {
		var effects []Effect
		heal := false
		select {
		case <-ctx.Done():
			return nil
		case keys := <-e.keys:
			for _, k := range keys {
				effects = append(effects, m.Key(k)...)
			}
		case now := <-clock.C:
			effects, heal = m.Tick(now), true
		case s := <-e.shots:
			m.Snapshot(s)
		case r := <-e.results:
			shell := m.Shell()
			effects = m.Done(r)
			if shell && !m.Shell() {
				e.paused.Store(false)
				effects = append(effects, Effect{Do: Redraw})
			}
		}
		anew := false
		for _, f := range effects {
			switch f.Do {
			case Redraw:
				anew = true
			case Leave:
				if e.opt.Leave {
					return errLeave
				}
			case TailLog:
				offer(e.logs, f)
			default:
				if f.Do == OpenShell {
					e.paused.Store(true)
				}
				offer(e.todo, f)
			}
		}
		if !m.Shell() {
			e.show(m, heal, anew)
		}
	}
}

// offer gives f unless nobody has taken the last ones.
func offer(c chan<- Effect, f Effect) {
	select {
	case c <- f:
	default:
	}
}

func (e *engine) show(m *Model, heal, anew bool) {
	b := m.View()
	e.mu.Lock()
	e.next = frame{buffer: b, ascii: m.ASCII, heal: heal || e.next.heal, anew: anew || e.next.anew}
	e.mu.Unlock()
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// write owns the Renderer and all writes but the shell's.
func (e *engine) write(ctx context.Context) error {
	r := screen.Renderer{OwnFont: e.opt.Screen}
	for {
		select {
		case <-ctx.Done():
			_, _ = e.tty.Write([]byte(screen.Reset))
			return nil
		case <-e.news:
		}
		if e.paused.Load() {
			continue
		}
		e.mu.Lock()
		f := e.next
		e.next.heal, e.next.anew = false, false
		e.mu.Unlock()
		if r.ASCII = f.ascii; f.anew {
			r.Invalidate()
		}
		out := r.Render
		if f.heal {
			out = r.Heal
		}
		if _, err := e.tty.Write(out(f.buffer)); err != nil {
			e.opt.Log.Debug("terminal", "cause", err)
			r.Invalidate()
			pause(ctx, retryAfter)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// read turns bytes into keys.
func (e *engine) read(ctx context.Context) error {
	var d screen.Decoder
	buffer := make([]byte, 256)
	for ctx.Err() == nil {
		if e.paused.Load() {
			select {
			case e.quiet <- struct{}{}:
			default:
			}
			pause(ctx, escapeAfter)
			continue
		}
		n, err := e.tty.Read(buffer)
		keys := d.Feed(buffer[:n])
		if n == 0 && err == nil && d.Waiting() {
			keys = d.Flush()
		}
		if err != nil {
			d = screen.Decoder{}
			pause(ctx, retryAfter)
		}
		if len(keys) > 0 && !e.paused.Load() {
			select {
			case e.keys <- keys:
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// ask asks the Source again and again; while it hangs, what is shown grows old.
func (e *engine) ask(ctx context.Context) error {
	for ctx.Err() == nil {
		bound, cancel := context.WithTimeout(ctx, sourceBound)
		s := e.source.Snapshot(bound)
		cancel()
		select {
		case e.shots <- s:
		case <-ctx.Done():
		}
		pause(ctx, sourceEvery)
	}
	return nil
}

func (e *engine) act(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-e.todo:
			e.answer(ctx, e.do(ctx, f))
		}
	}
}

func (e *engine) answer(ctx context.Context, r Result) {
	select {
	case e.results <- r:
	case <-ctx.Done():
	}
}

func (e *engine) do(ctx context.Context, f Effect) Result {
	r := Result{Effect: Effect{Do: f.Do, Name: f.Name, Ask: f.Ask}} // without the password
	if f.Do == OpenShell {
		select { // until the reader leaves the keys to the shell
		case <-e.quiet:
		default:
		}
		select {
		case <-e.quiet:
		case <-time.After(2 * escapeAfter):
		case <-ctx.Done():
		}
		e.opt.Log.Warn("rescue shell opened")
		_, _ = e.tty.Write([]byte(screen.Reset))
		r.Err = e.actions.OpenShell(ctx, e.tty)
		e.opt.Log.Warn("rescue shell closed", "cause", r.Err)
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, actBound)
	defer cancel()
	if f.Ask != nil {
		r.Err = e.actions.Ask(ctx, *f.Ask)
		e.opt.Log.Info("console asks init", "what", string(f.Do), "cause", r.Err)
		return r
	}
	switch f.Do {
	case Reboot:
		r.Err = e.actions.Reboot(ctx)
	case PowerOff:
		r.Err = e.actions.PowerOff(ctx)
	case RestartService:
		r.Err = e.actions.RestartService(ctx, f.Name)
	case CheckPassword:
		r.Right, r.Err = e.actions.CheckPassword(ctx, f.Password)
	}
	e.opt.Log.Info("console action", "action", string(f.Do), "name", f.Name, "cause", r.Err)
	return r
}

func (e *engine) tail(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-e.logs:
			bound, cancel := context.WithTimeout(ctx, sourceBound)
			lines, err := e.actions.TailLog(bound, f.Name, logLines)
			cancel()
			e.answer(ctx, Result{Effect: f, Err: err, Lines: lines})
		}
	}
}
