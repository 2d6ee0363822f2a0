package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"

	"beffroi.dev/pkg/task"
)

const (
	// look is how often the target is asked for: a switch of hundreds of
	// milliseconds is not made longer by it.
	look = 20 * time.Millisecond
	// again is the pause before sending again to a node that refused: it learns
	// that it serves a moment after the others do.
	again     = 25 * time.Millisecond
	dialBound = 2 * time.Second
	stopBound = 5 * time.Second
)

// Target is who serves now: a handler on this node, the address (host:port) of
// the other, or, when both are empty, nobody.
type Target struct {
	Local http.Handler
	Addr  string
}

func (t Target) none() bool { return t.Local == nil && t.Addr == "" }

// Config bounds what a Front holds.
type Config struct {
	Hold      time.Duration // how long a request waits for somebody to serve
	Try       time.Duration // how long one attempt may stay without an answer
	Requests  int           // at a time; more are told to come back
	Body      int64         // of a request kept for sending again, bytes
	Bodies    int64         // of all requests together, bytes
	Answer    int64         // of an answer that is passed on whole, bytes
	Transport http.RoundTripper
}

// DefaultConfig holds 30 seconds, as the design says.
func DefaultConfig() Config {
	return Config{Hold: 30 * time.Second, Try: 20 * time.Second, Requests: 512, Body: 12 << 20, Bodies: 192 << 20, Answer: 4 << 20}
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var errs []error
	for what, ok := range map[string]bool{
		"hold": c.Hold > 0, "try": c.Try > 0, "requests": c.Requests > 0, "body": c.Body > 0, "bodies": c.Bodies >= c.Body, "answer": c.Answer > 0,
	} {
		if !ok {
			errs = append(errs, fmt.Errorf("front: %s is out of range", what))
		}
	}
	return errors.Join(errs...)
}

// Front is the handler that listens on a node's addresses.
type Front struct {
	cfg    Config
	target func() Target
	log    *slog.Logger
	proxy  *httputil.ReverseProxy
	rt     http.RoundTripper
	slots  chan struct{}
	bodies atomic.Int64
	tasks  *task.Group

	mu      sync.Mutex // guards all below
	addr    string     // of the target last seen
	local   bool
	changed chan struct{}                    // closed when the target changes
	tries   map[*try]context.CancelCauseFunc // in the hands of the other node
}

// try is one attempt at a node.
type try struct{ addr string }

var (
	errMoved   = errors.New("the serving node changed")
	errNobody  = errors.New("nobody serves")
	errDropped = errors.New("the answer did not come whole")
)

// New makes a Front and starts watching the target.
func New(ctx context.Context, cfg Config, target func() Target, log *slog.Logger) (*Front, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	f := &Front{
		cfg: cfg, target: target, log: log.With("room", "citizen/front"), rt: cfg.Transport,
		slots: make(chan struct{}, cfg.Requests), changed: make(chan struct{}), tries: map[*try]context.CancelCauseFunc{},
	}
	if f.rt == nil {
		f.rt = &http.Transport{
			DialContext:           (&net.Dialer{Timeout: dialBound, KeepAlive: 5 * time.Second}).DialContext,
			MaxIdleConnsPerHost:   32,
			IdleConnTimeout:       30 * time.Second,
			ResponseHeaderTimeout: cfg.Try,
			DisableCompression:    true,
		}
	}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
			p.SetXForwarded()
			p.Out.Host = p.In.Host // the other node compares it with the Origin
		},
		Transport:    roundTripper(f.roundTrip),
		ErrorHandler: f.refuse,
		ErrorLog:     slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
	}
	f.tasks = task.New(ctx)
	f.tasks.Go("watch target", f.watch)
	return f, nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return r(q) }

// Close stops watching. Requests in progress end with their servers.
func (f *Front) Close() error { return f.tasks.Stop(stopBound) }

// watch wakes who waits when the target changes, and takes back what lies with
// a node that serves no more.
func (f *Front) watch(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		t := f.target()
		f.mu.Lock()
		if t.Addr != f.addr || (t.Local != nil) != f.local {
			f.log.Info("serving node changed", "old", name(f.addr, f.local), "new", name(t.Addr, t.Local != nil), "in_flight", len(f.tries))
			f.addr, f.local = t.Addr, t.Local != nil
			close(f.changed)
			f.changed = make(chan struct{})
			for x, cancel := range f.tries {
				if x.addr != t.Addr {
					cancel(errMoved)
				}
			}
		}
		f.mu.Unlock()
	}
}

func name(addr string, local bool) string {
	switch {
	case local:
		return "this node"
	case addr == "":
		return "nobody"
	}
	return addr
}

// wait returns when the target changed, or after at most d.
func (f *Front) wait(ctx context.Context, d time.Duration) error {
	f.mu.Lock()
	changed := f.changed
	f.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-t.C:
	}
	return nil
}

// enter registers an attempt, so that a change of target can take it back.
func (f *Front) enter(ctx context.Context, addr string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	x := &try{addr}
	f.mu.Lock()
	f.tries[x] = cancel
	f.mu.Unlock()
	return ctx, func() {
		f.mu.Lock()
		delete(f.tries, x)
		f.mu.Unlock()
		cancel(nil)
	}
}

// ServeHTTP hands the request to the node that serves.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		f.refuse(w, r, fmt.Errorf("%w: %d requests are held already", errNobody, f.cfg.Requests))
		return
	}
	h, err := f.take(r)
	if err != nil {
		f.refuse(w, r, err)
		return
	}
	defer h.drop()
	f.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), heldKey{}, h)))
}

// refuse is the answer when nobody served in time.
func (f *Front) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the browser is gone
	}
	f.log.Warn("request not served", "method", r.Method, "cause", err)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "5")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(sorry))
}

const sorry = `<!doctype html><html lang="fr"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Un instant</title><style>body{font:1.2rem/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1rem}</style>
<h1>Un instant, s'il vous plaît</h1>
<p>La mairie est en train de changer de site. Rien de ce qui a été confirmé n'est perdu. Rechargez cette page dans quelques secondes : un formulaire rechargé ne compte qu'une fois.</p>
<div lang="en"><h2>One moment, please</h2>
<p>The town hall is changing sites. Nothing that was confirmed is lost. Reload this page in a few seconds: a form that is reloaded counts only once.</p></div></html>`
