package console

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/socket"
	"beffroi.dev/pkg/task"
)

//go:embed assets
var assets embed.FS

const (
	stopBound  = 5 * time.Second
	maxStreams = 64 // live pages at a time
	// failures of signing in: a burst, then one each pause
	addressBurst, addressPause = 5, 20 * time.Second
	accountBurst, accountPause = 10, 10 * time.Second
)

// policy lets a page use nothing but this console's own files.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Console is the web console. It is used through its Handler.
type Console struct {
	cfg       Config
	ctl       Control
	log       *slog.Logger
	api       *api.API
	feed      *feed
	words     catalogue
	views     *views
	sessions  *sessions
	byAddress *limit
	byAccount *limit
	hashing   chan struct{} // slots of password hashing
	streams   chan struct{} // slots of live pages
	tasks     *task.Group

	mu    sync.Mutex        // guards codes
	codes map[string]string // the last one-time code by account
}

// New makes a console and begins to follow the node service, until Close.
func New(cfg Config, ctl Control, log *slog.Logger) (*Console, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	cfg, log = cfg.withDefaults(), log.With("room", "console")
	words, err := loadWords()
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	views, err := loadViews()
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	a, err := api.New(api.Config{Dir: cfg.Dir, Self: cfg.Self, QemuImg: cfg.QemuImg}, ctl, log)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	c := &Console{
		cfg: cfg, ctl: ctl, log: log, api: a, feed: newFeed(cfg, ctl, log), words: words, views: views, sessions: newSessions(cfg.Idle),
		byAddress: newLimit(addressBurst, addressPause), byAccount: newLimit(accountBurst, accountPause),
		hashing: make(chan struct{}, maxHashing), streams: make(chan struct{}, maxStreams), tasks: task.New(context.Background()), codes: map[string]string{},
	}
	c.tasks.Go("status", c.feed.run)
	c.tasks.Go("users", c.feed.runUsers)
	return c, nil
}

// Close ends what New began.
func (c *Console) Close() error { return errors.Join(c.tasks.Stop(stopBound), c.api.Close()) }

// Handler serves the pages and the operator's API.
func (c *Console) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.live)
	mux.HandleFunc("GET /stream", c.stream)
	mux.HandleFunc("GET /login", c.showLogin)
	mux.HandleFunc("POST /login", c.login)
	mux.HandleFunc("POST /logout", c.logout)
	mux.HandleFunc("GET /act/{what}/{name}", c.confirm)
	mux.HandleFunc("POST /act/{what}/{name}", c.act)
	mux.HandleFunc("GET /agents", c.agents)
	mux.HandleFunc("GET /agents/new", c.askAgent)
	mux.HandleFunc("POST /agents/new", c.doAgent)
	mux.HandleFunc("GET /agents/{name}/{what}", c.askAgent)
	mux.HandleFunc("POST /agents/{name}/{what}", c.doAgent)
	mux.HandleFunc("/api/v1/", c.serveAPI)
	sub, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // the folder is part of this program
	}
	files := http.StripPrefix("/assets/", http.FileServerFS(sub))
	mux.HandleFunc("GET /assets/{file}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		files.ServeHTTP(w, r)
	})
	return headers(http.NewCrossOriginProtection().Handler(mux))
}

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// serveAPI lets a session use the API too. A token, if there is one, counts.
func (c *Console) serveAPI(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") == "" {
		if v, ok := c.visitor(r, true); ok {
			r = api.WithUser(r, v.name)
		}
	}
	c.api.Handler().ServeHTTP(w, r)
}

// Run serves the console of a node until ctx ends: over HTTPS, and the API also on
// the socket of the node's own operators.
func Run(ctx context.Context, dir config.Dir, n *config.Node, ctl Control, sockets *socket.Set, ready func(), log *slog.Logger) error {
	cfg := Config{Dir: dir, Self: n.Self, Name: n.Me().Name, QemuImg: n.Guests.QemuImg, Listen: n.Console.Listen}
	c, err := New(cfg, ctl, log)
	if err != nil {
		return err
	}
	pair, fingerprint, err := certificate(dir, cfg.Name, cfg.Listen)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	l, err := sockets.TCP(socket.Console, cfg.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("console address: %w", err), c.Close())
	}
	local, err := sockets.Unix("console", dir.Socket("console"))
	if err != nil {
		return errors.Join(err, l.Close(), c.Close())
	}
	tasks := task.New(ctx)
	srv := c.server(tasks.Context(), pair)
	tasks.Go("https", func(context.Context) error {
		if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	tasks.Go("local", func(ctx context.Context) error { return c.api.ServeLocal(ctx, local) })
	log.Info("console", "url", "https://"+cfg.Listen, "certificate_sha256", fingerprint)
	ready()
	<-tasks.Context().Done()
	return errors.Join(srv.Close(), tasks.Stop(stopBound), c.Close())
}

// server bounds what a connection may cost. An image takes as long as it takes, so
// bodies have no bound in time here; forms do.
func (c *Console) server(ctx context.Context, pair tls.Certificate) *http.Server {
	// The serial line takes its connection over, which HTTP/2 does not allow.
	only1 := new(http.Protocols)
	only1.SetHTTP1(true)
	return &http.Server{
		Handler: c.Handler(), Protocols: only1, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(handshakes{c.log.Handler()}, slog.LevelWarn),
	}
}

// handshakes keeps it out of the log that browsers do not know the certificate.
type handshakes struct{ slog.Handler }

func (h handshakes) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "TLS handshake error") {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}
