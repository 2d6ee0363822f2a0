package town

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/service"
	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/citizen/web"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/task"
)

// run serves while the order says so, and lets go when it ends.
func (t *Town) run(ctx context.Context) error {
	for released := false; ctx.Err() == nil; {
		t.mu.Lock()
		wanted := t.order.Address && t.state != nil && t.state.Service.Group != 0
		if !wanted {
			t.cause = "the other node serves, or nobody does yet"
		}
		denied := t.ordered && !t.order.Address // not only unknown yet
		t.mu.Unlock()
		if denied && !released {
			t.release() // a former life may have held it
			released = true
		}
		if !wanted {
			select {
			case <-ctx.Done():
			case <-t.kick:
			}
			continue
		}
		released = false
		if err := t.hold(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("cannot serve citizens; trying again", "error", err)
			t.mu.Lock()
			t.cause = err.Error()
			t.mu.Unlock()
			pause(ctx)
		}
	}
	return nil
}

// hold opens the volume, serves and binds the address, until the order ends or
// something fails.
func (t *Town) hold(ctx context.Context) error {
	begun := time.Now()
	name, id, err := t.export()
	if err != nil {
		return err
	}
	n, err := t.begin(ctx, id)
	if err != nil {
		return err
	}
	client, err := nbd.Dial(ctx, nbd.ClientConfig{Network: "unix", Address: t.dir.Socket("nbd"), Export: fmt.Sprintf("%s@%d", name, n.since), Connections: 1}, t.log)
	if err != nil {
		return fmt.Errorf("open the citizens' volume: %w", err)
	}
	// The volume is let go at once: what is in flight ends with an error and is
	// acknowledged to nobody.
	defer func() {
		now, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
		defer cancel()
		_ = client.Close(now)
	}()
	dev := disk.NewDevice(client)
	if n.svc, err = t.take(ctx, dev, n); err != nil {
		return err
	}
	n.waits.Store(false) // whatever was asked while it was opened
	t.update(func() { t.open = n })
	tasks := task.New(ctx)
	defer func() {
		t.update(func() { t.open = nil })
		if err := tasks.Stop(stopBound); err != nil {
			t.log.Warn("service address", "error", err)
		}
		now, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
		_ = client.Close(now)
		cancel()
		_ = n.svc.Close() // it cannot write any more; recovery on the other node needs nothing of it
	}()
	defer func() {
		if t.quiet == nil || ctx.Err() == nil {
			t.release()
		}
	}()
	if t.addr != nil {
		if err := t.addr.Hold(ctx); err != nil {
			return err
		}
	}
	l, err := t.listen(ctx)
	if err != nil {
		return err
	}
	server := webServer(t.front)
	tasks.Go("service address", func(context.Context) error { return ignoreClosed(server.Serve(l)) })
	defer server.Close()
	t.log.Info("citizens are served here", "address", t.node.Citizen.Service, "opened_in", time.Since(begun).Round(time.Millisecond))
	return t.stay(ctx, n)
}

// export names the citizens' volume for the NBD socket, and its group.
func (t *Town) export() (string, ident.Group, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, ok := t.state.Groups[t.state.Service.Group]
	if !ok || len(g.Volumes) == 0 {
		return "", 0, errors.New("the citizens' volume does not exist")
	}
	return g.Name + "/" + g.Volumes[0].Name, g.ID, nil
}

// take opens the volume; a blank one is formatted, which happens once in the
// life of a pair.
func (t *Town) take(ctx context.Context, dev disk.Device, n *tenure) (*service.Service, error) {
	cfg := t.config()
	role := func() service.Role {
		rctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return t.role(rctx, n)
	}
	svc, err := service.Open(ctx, dev, cfg, role, clock.System{}, t.log)
	if errors.Is(err, store.ErrBlank) {
		t.log.Info("the citizens' volume is blank; it is formatted")
		if err := store.Format(ctx, dev, cfg.Store, t.log); err != nil {
			return nil, fmt.Errorf("format the citizens' volume: %w", err)
		}
		svc, err = service.Open(ctx, dev, cfg, role, clock.System{}, t.log)
	}
	if err != nil {
		return nil, fmt.Errorf("open the citizens' volume: %w", err)
	}
	return svc, nil
}

func (t *Town) config() service.Config {
	town := t.node.Citizen.Town
	hall := casefile.Contact{Name: "Mairie de " + town, Address: "1 place de la République, " + town, Phone: "01 60 00 00 00", Email: "accueil@mairie.example"}
	roads := casefile.Contact{Name: "Service voirie et éclairage", Address: "14 rue des Ateliers, " + town, Phone: "01 60 00 00 12", Email: "voirie@mairie.example"}
	every := time.Duration(t.node.Citizen.FilingEveryMS) * time.Millisecond
	return service.Config{Store: store.Config{Owner: t.node.Pair, RunDir: runFolder(t.dir)}, Web: web.Config{
		FilingEvery: every, Town: town, Contact: hall, TrustedProxies: t.proxies(), Services: map[string]casefile.Contact{"voirie": roads}}}
}

// proxies is the twin, which hands citizens on to this node and says on whose
// behalf. Where both have loopback addresses (the lab) it comes from the first.
func (t *Town) proxies() []netip.Prefix {
	twin, _ := t.node.Twin()
	a, err := netip.ParseAddrPort(twin.Citizen)
	if err != nil {
		return nil
	}
	out := []netip.Prefix{netip.PrefixFrom(a.Addr(), a.Addr().BitLen())}
	if a.Addr().IsLoopback() {
		out = append(out, netip.MustParsePrefix("127.0.0.1/32"))
	}
	return out
}

// handler is the socket of the node's own operators.
func (t *Town) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { answer(w, http.StatusOK, t.Status(r.Context())) })
	mux.Handle("/v1/agents", t.agents())
	mux.Handle("/v1/agents/", t.agents())
	return mux
}

func (t *Town) agents() http.Handler {
	return Agents(func() *agent.Register {
		t.mu.Lock()
		open := t.open
		t.mu.Unlock()
		bound, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if open == nil || !t.role(bound, open).Serving {
			return nil
		}
		return open.svc.Agents()
	}, t.node.Citizen.Town, t.log)
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the other end of a local socket is gone: nothing to tell it
}
