package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"beffroi.dev/appliance/agents"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/task"
)

const (
	askBound     = 6 * time.Second  // of a question to a service of this node
	proposeBound = 25 * time.Second // the node service answers within 20 s
	minToken     = 16               // bytes: less can be guessed
	maxHashing   = 2                // passwords hashed at a time, 64 MiB each
)

// API is the operator's interface. It is used through its handlers.
type API struct {
	cfg   Config
	ctl   Control
	log   *slog.Logger
	token string // empty: no token is accepted
	mux   *http.ServeMux
	tasks *task.Group
	jobs  *jobs
	block *http.Client
	vm    *http.Client
	// citizen is the service of this node that knows the agents, while it serves.
	citizen *agents.Client
	hashes  chan struct{} // slots of password hashing

	mu        sync.Mutex // guards deniedLog
	deniedLog time.Time  // of the last line about a denied caller
}

// New makes the API and cleans up after jobs that a former life left.
func New(cfg Config, ctl Control, log *slog.Logger) (*API, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	a := &API{
		cfg: cfg.withDefaults(), ctl: ctl, log: log.With("room", "api"), tasks: task.New(context.Background()), // ended by Close
		block: unixClient(cfg.Dir.Socket("block")), vm: unixClient(cfg.Dir.Socket("vm")),
		citizen: agents.NewClient(cfg.Dir.Socket("citizen")), hashes: make(chan struct{}, maxHashing),
	}
	b, err := os.ReadFile(cfg.Dir.Token())
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("api: read token: %w", err)
	}
	if a.token = strings.TrimSpace(string(b)); a.token != "" && len(a.token) < minToken {
		return nil, fmt.Errorf("api: the token has %d bytes, want at least %d", len(a.token), minToken)
	}
	if err := os.MkdirAll(cfg.Dir.Uploads(), 0o700); err != nil {
		return nil, fmt.Errorf("api: make folder: %w", err)
	}
	a.jobs = newJobs()
	if err := a.recover(); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	a.mux = a.routes()
	return a, nil
}

// Close ends all jobs; what they made is removed, as far as the time allows.
func (a *API) Close() error { return a.tasks.Stop(20 * time.Second) }

func unixClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // few requests, and the services restart
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

// routes is the table of the interface: what, and who may at least.
func (a *API) routes() *http.ServeMux {
	mux := http.NewServeMux()
	const viewer, operator, admin = cluster.RoleViewer, cluster.RoleOperator, cluster.RoleAdmin
	for _, r := range []struct {
		pattern string
		role    cluster.Role
		serve   func(w http.ResponseWriter, r *http.Request, who caller) error
	}{
		{"GET /api/v1/status", viewer, a.status},
		{"GET /api/v1/groups", viewer, a.groups},
		{"POST /api/v1/groups", operator, a.createGroup},
		{"DELETE /api/v1/groups/{name}", admin, a.deleteGroup},
		{"POST /api/v1/groups/{name}/switch", operator, a.switchGroup},
		{"POST /api/v1/groups/{name}/prefer", operator, a.preferGroup},
		{"GET /api/v1/volumes", viewer, a.volumes},
		{"GET /api/v1/vms", viewer, a.vms},
		{"POST /api/v1/vms", operator, a.createVM},
		{"POST /api/v1/vms/{name}/start", operator, a.startVM},
		{"POST /api/v1/vms/{name}/shutdown", operator, a.shutDownVM},
		{"POST /api/v1/vms/{name}/off", operator, a.offVM},
		{"DELETE /api/v1/vms/{name}", admin, a.deleteVM},
		{"GET /api/v1/vms/{name}/serial", operator, a.serial},
		{"GET /api/v1/vms/{name}/attach", operator, a.attach},
		{"POST /api/v1/images", operator, a.importImage},
		{"GET /api/v1/jobs", viewer, a.listJobs},
		{"GET /api/v1/jobs/{id}", viewer, a.oneJob},
		{"DELETE /api/v1/jobs/{id}", operator, a.cancelJob},
		{"GET /api/v1/users", admin, a.users},
		{"PUT /api/v1/users/{name}", admin, a.setUser},
		{"DELETE /api/v1/users/{name}", admin, a.deleteUser},
		{"GET /api/v1/agents", operator, a.agents},
		{"POST /api/v1/agents", admin, a.createAgent},
		{"POST /api/v1/agents/{name}/renew", admin, a.renewAgent},
		{"POST /api/v1/agents/{name}/reopen", admin, a.reopenAgent},
		{"POST /api/v1/agents/{name}/close", admin, a.closeAgent},
		{"GET /api/v1/events", viewer, a.events},
		{"PUT /api/v1/service", admin, a.setService},
	} {
		mux.HandleFunc(r.pattern, a.guard(r.role, r.serve))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, &Error{Code: NotFound, Message: fmt.Sprintf("%s %.100q is not part of this interface", r.Method, r.URL.Path), Hint: "everything lies under /api/v1"})
	})
	return mux
}

// Handler serves callers with the token, and those that WithUser names.
func (a *API) Handler() http.Handler { return a.mux }

func (a *API) status(w http.ResponseWriter, r *http.Request, _ caller) error {
	ctx, cancel := context.WithTimeout(r.Context(), askBound)
	defer cancel()
	n, err := a.ctl.Status(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errNode, err)
	}
	write(w, http.StatusOK, n)
	return nil
}
