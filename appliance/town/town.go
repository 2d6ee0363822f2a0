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
	"sync/atomic"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/socket"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/citizen/front"
	"beffroi.dev/pkg/citizen/service"
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
	ordered bool             // an order has come in this life
	open    *service.Service // while this node serves
	reign   *reign           // under which it was opened
	waits   bool             // open, and this node may not answer for the moment
	cause   string           // why it does not
	kick    chan struct{}    // the order or the state changed
	tell    chan struct{}    // something to report at once
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
	case t.open != nil && t.waits:
		return front.Target{} // requests are held until it may answer again
	case t.open != nil:
		return front.Target{Local: t.open.Handler()}
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

// localGroup asks the block service what this node knows of the citizens' group
// now.
func (t *Town) localGroup(ctx context.Context, id ident.Group) (status.LocalGroup, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://block/v1/status", nil)
	if err != nil {
		return status.LocalGroup{}, err
	}
	res, err := t.block.Do(req)
	if err != nil {
		return status.LocalGroup{}, fmt.Errorf("ask the block service: %w", err)
	}
	defer res.Body.Close()
	var s status.Store
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		return status.LocalGroup{}, fmt.Errorf("ask the block service: %w", err)
	}
	for _, g := range s.Groups {
		if g.ID == id {
			return g, nil
		}
	}
	return status.LocalGroup{}, errors.New("the block service does not know the citizens' volume")
}

// reign is a time in which this node leads the citizens' volume without a break: what
// the open database keeps in its memory is true for no longer.
type reign struct {
	since ident.Epoch
	over  atomic.Bool
}

// role is what this node may promise now, with the volume as it was opened in a reign.
// It also notes whether citizens have to wait, and whether the reign is over.
func (t *Town) role(ctx context.Context, r *reign) service.Role {
	now := t.ask(ctx, r)
	t.mu.Lock()
	began := !now.Serving && !t.waits
	t.waits = !now.Serving
	t.mu.Unlock()
	if began {
		nudge(t.kick) // stay asks again until it is over
	}
	return now
}

func (t *Town) ask(ctx context.Context, r *reign) service.Role {
	t.mu.Lock()
	address, st := t.order.Address, t.state
	t.mu.Unlock()
	if st == nil || !address {
		return service.Role{Reason: "this node does not hold the service address"}
	}
	g, err := t.localGroup(ctx, st.Service.Group)
	switch {
	case err != nil:
		return service.Role{Reason: err.Error()}
	case g.Since != r.since:
		r.over.Store(true)
		return service.Role{Reason: "this node has not led the volume without a break"}
	case !g.Serving || !g.Readable:
		return service.Role{Reason: "the volume is being decided"}
	}
	return service.Role{Serving: true, Copies: g.Copies, Epoch: uint64(g.Epoch)}
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
	serving, reign, cause := t.open != nil, t.reign, t.cause
	t.mu.Unlock()
	s := status.Citizen{Serving: serving, URL: "http://" + t.node.Citizen.Service}
	if serving {
		s.Copies = t.role(ctx, reign).Copies
	} else {
		s.Cause = cause
		s.Proxy = t.target().Addr != ""
	}
	return s
}
