package task

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Group owns a set of named goroutines. The zero value is not usable; call New.
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex // guards running, stopped, err
	running map[string]int
	stopped bool
	err     error
	idle    chan struct{} // closed when stopped and nothing runs
}

// ErrStopped is the cause of the group's context after Stop.
var ErrStopped = errors.New("stopped")

// New makes a group whose goroutines get a context derived from ctx.
func New(ctx context.Context) *Group {
	c, cancel := context.WithCancelCause(ctx)
	return &Group{ctx: c, cancel: cancel, running: map[string]int{}, idle: make(chan struct{})}
}

// Context is cancelled when the group stops or one of its goroutines fails.
func (g *Group) Context() context.Context { return g.ctx }

// Go starts f under a name. If f returns an error or panics, the group's
// context is cancelled with that error, and Wait and Stop return the first one.
// After Stop, Go does nothing.
func (g *Group) Go(name string, f func(ctx context.Context) error) {
	g.mu.Lock()
	if g.stopped {
		g.mu.Unlock()
		return
	}
	g.running[name]++
	g.mu.Unlock()
	go func() {
		err := run(g.ctx, f)
		g.mu.Lock()
		if g.running[name]--; g.running[name] == 0 {
			delete(g.running, name)
		}
		if err != nil && !errors.Is(err, context.Canceled) && g.err == nil {
			g.err = fmt.Errorf("%s: %w", name, err)
			g.cancel(g.err)
		}
		if g.stopped && len(g.running) == 0 {
			close(g.idle)
		}
		g.mu.Unlock()
	}()
}

func run(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f(ctx)
}

// Stop cancels the group and waits at most bound for its goroutines. It returns
// the first failure, or an error that names what still runs.
func (g *Group) Stop(bound time.Duration) error {
	g.cancel(ErrStopped)
	g.mu.Lock()
	if !g.stopped {
		g.stopped = true
		if len(g.running) == 0 {
			close(g.idle)
		}
	}
	g.mu.Unlock()
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case <-g.idle:
	case <-t.C:
		g.mu.Lock()
		names := make([]string, 0, len(g.running))
		for n := range g.running {
			names = append(names, n)
		}
		g.mu.Unlock()
		slices.Sort(names)
		return fmt.Errorf("still running after %v: %s", bound, strings.Join(names, ", "))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Wait blocks until ctx or the group is done, then stops the group within bound.
func (g *Group) Wait(ctx context.Context, bound time.Duration) error {
	select {
	case <-ctx.Done():
	case <-g.ctx.Done():
	}
	return g.Stop(bound)
}
