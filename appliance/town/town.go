package town

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/socket"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/citizen/front"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/task"
)

// Controller is the node service, as this one needs it.
type Controller interface {
	Watch(ctx context.Context, after uint64) (*cluster.State, error)
	Order(ctx context.Context, after uint64) (control.Order, error)
	Report(ctx context.Context, name string, part any) error
}

// Address is the service address of an appliance's network. A node that is a
// process of somebody's machine has none: binding is enough there.
type Address interface {
	Hold(ctx context.Context) error
	Drop() error
}

// stopBound is how long each step of a stop may take.
const stopBound = 5 * time.Second

// Town is the running citizen service.
type Town struct {
	dir   config.Dir
	node  *config.Node
	ctl   Controller
	log   *slog.Logger
	front *front.Front
	block *http.Client  // of the block service
	addr  Address       // nil: binding is enough
	quiet *socket.Quiet // at the service address; nil: it is bound when it is held

	mu      sync.Mutex // guards all below
	state   *cluster.State
	order   control.Order
	ordered bool          // an order has come in this life
	open    *tenure       // while this node serves
	cause   string        // why it does not
	kick    chan struct{} // the order, the state or the tenure changed
	tell    chan struct{} // something to report at once
}

// runFolder is the service's own part of the run folder.
func runFolder(d config.Dir) string { return filepath.Join(d.Run(), "citizen") }

// Run runs the citizen service until ctx ends. addr may be nil.
func Run(ctx context.Context, dir config.Dir, n *config.Node, ctl Controller, addr Address, sockets *socket.Set, ready func(), log *slog.Logger) error {
	t := &Town{dir: dir, node: n, ctl: ctl, addr: addr, log: log, kick: make(chan struct{}, 1), tell: make(chan struct{}, 1), cause: "starting"}
	t.quiet = sockets.Quiet(socket.CitizenService)
	if err := os.MkdirAll(runFolder(dir), 0o700); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	t.block = unixClient(dir.Socket("block"))
	var err error
	if t.front, err = front.New(ctx, front.DefaultConfig(), t.target, log); err != nil {
		return err
	}
	defer t.front.Close()
	own, err := sockets.TCP(socket.CitizenOwn, n.Citizen.Listen)
	if err != nil {
		return fmt.Errorf("own address: %w", err)
	}
	local, err := sockets.Unix("citizen", dir.Socket("citizen"))
	if err != nil {
		return err
	}
	tasks := task.New(ctx)
	servers := []*http.Server{webServer(t.front), {Handler: t.handler(), ReadHeaderTimeout: 5 * time.Second}}
	for i, l := range []net.Listener{own, local} {
		tasks.Go("listener", func(context.Context) error { return ignoreClosed(servers[i].Serve(l)) })
	}
	tasks.Go("state watcher", t.watchState)
	tasks.Go("order watcher", t.watchOrder)
	tasks.Go("reporter", t.report)
	tasks.Go("service", t.run)
	ready()
	select {
	case <-ctx.Done():
	case <-tasks.Context().Done():
	}
	for _, s := range servers {
		_ = s.Close()
	}
	return tasks.Stop(2 * stopBound)
}

// webServer bounds what a citizen's connection may cost.
func webServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func unixClient(path string) *http.Client {
	return &http.Client{Timeout: time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
}

func (t *Town) watchState(ctx context.Context) error {
	after := uint64(0)
	for ctx.Err() == nil {
		st, err := t.ctl.Watch(ctx, after)
		if err != nil {
			pause(ctx)
			continue
		}
		after = st.Index
		t.update(func() { t.state = st })
	}
	return nil
}

func (t *Town) watchOrder(ctx context.Context) error {
	after := uint64(0)
	for ctx.Err() == nil {
		o, err := t.ctl.Order(ctx, after)
		if err != nil {
			// The node service is away: the last order stands. The parent's fence
			// ends this process if that lasts.
			pause(ctx)
			after = 0
			continue
		}
		if o.Serial == after {
			continue
		}
		after = o.Serial
		t.update(func() { t.order, t.ordered = o, true })
	}
	return nil
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}

func (t *Town) update(f func()) {
	t.mu.Lock()
	before := t.open
	f()
	changed := t.open != before
	t.mu.Unlock()
	nudge(t.kick)
	if changed {
		nudge(t.tell)
	}
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// target tells the front who serves: this node, the twin, or nobody yet.
func (t *Town) target() front.Target {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.open != nil && t.open.waits.Load():
		return front.Target{} // requests are held until it may answer again
	case t.open != nil:
		return front.Target{Local: t.open.svc.Handler()}
	}
	if t.state == nil || t.order.Address {
		return front.Target{}
	}
	if g, ok := t.state.Groups[t.state.Service.Group]; ok && g.Config.Primary != t.node.Self {
		for _, m := range t.node.Members {
			if m.ID == g.Config.Primary {
				return front.Target{Addr: m.Citizen}
			}
		}
	}
	return front.Target{}
}

// localGroup asks the block service what this node knows of the citizens' group at this
// moment.
func (t *Town) localGroup(ctx context.Context, id ident.Group) (g status.LocalGroup, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://block/v1/groups/%d", id), nil)
	if err != nil {
		return g, err
	}
	res, err := t.block.Do(req)
	if err != nil {
		return g, fmt.Errorf("ask the block service: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return g, fmt.Errorf("ask the block service for the citizens' volume: %s", res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(&g); err != nil {
		return g, fmt.Errorf("ask the block service: %w", err)
	}
	return g, nil
}

// report tells the node service.
func (t *Town) report(ctx context.Context) error {
	for ctx.Err() == nil {
		rctx, cancel := context.WithTimeout(ctx, time.Second)
		_ = t.ctl.Report(rctx, "citizen", t.Status(rctx)) // tried again below
		cancel()
		select {
		case <-ctx.Done():
		case <-t.tell: // it began or ended to serve
		case <-time.After(500 * time.Millisecond):
		}
	}
	return nil
}

// Status is this service's part of the node's status.
func (t *Town) Status(ctx context.Context) status.Citizen {
	t.mu.Lock()
	open, cause := t.open, t.cause
	t.mu.Unlock()
	s := status.Citizen{Serving: open != nil, URL: "http://" + t.node.Citizen.Service}
	if open != nil {
		s.Copies = t.role(ctx, open).Copies
	} else {
		s.Cause = cause
		s.Proxy = t.target().Addr != ""
	}
	return s
}
