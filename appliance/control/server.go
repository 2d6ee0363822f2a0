package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/task"
)

const (
	// pollBound is how long a poll waits for news.
	pollBound = 25 * time.Second
	// proposeBound is how long a proposal may stay undecided before its proposer
	// is told so: some elections.
	proposeBound = 20 * time.Second
	// maxReport bounds a service's part of the status: all groups at once.
	maxReport = 4 << 20
	// maxProposal is a command with its envelope.
	maxProposal = cluster.MaxCommand + 1024
	// headerBound is how long a client may take to say what it wants.
	headerBound = 5 * time.Second
	// stopBound is how long Close waits for the last answers.
	stopBound = 2 * time.Second
)

// Votes is what the server needs of the vote. Propose's error wraps
// cluster.ErrRefused when trying again does not help.
type Votes interface {
	Watch(ctx context.Context, after uint64) (*cluster.State, error)
	Propose(ctx context.Context, do cluster.Action) (cluster.Result, error)
}

// Orders waits for an Order with a serial above after.
type Orders interface {
	Order(ctx context.Context, after uint64) (Order, error)
}

// Reports takes the services' parts and gives the whole. A Take error is the
// reporter's fault: an unknown name, or a part that cannot be read.
type Reports interface {
	Take(name string, part []byte) error
	Status() status.Node
}

// Server answers the node's services.
type Server struct {
	votes   Votes
	orders  Orders
	reports Reports
	log     *slog.Logger
	http    *http.Server
	tasks   *task.Group
}

// Serve answers on the socket until Close, or until ctx ends. It owns l.
func Serve(ctx context.Context, l net.Listener, v Votes, o Orders, r Reports, log *slog.Logger) *Server {
	s := &Server{votes: v, orders: o, reports: r, log: log.With("room", "control"), tasks: task.New(ctx)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/state", s.state)
	mux.HandleFunc("GET /v1/order", s.order)
	mux.HandleFunc("POST /v1/propose", s.propose)
	mux.HandleFunc("PUT /v1/report/{name}", s.report)
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, &Error{Message: fmt.Sprintf("%.10s %.100q is not part of this interface", r.Method, r.URL.Path), Refused: true})
	})
	polls := s.tasks.Context() // ends first, and with it every poll
	s.http = &http.Server{
		Handler: mux, ReadHeaderTimeout: headerBound, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 8 << 10,
		BaseContext: func(net.Listener) context.Context { return polls }, ConnContext: withCaller,
	}
	s.tasks.Go("control", func(context.Context) error {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the node's services: %w", err)
		}
		return nil
	})
	return s
}

// Done is closed when the server stops, by Close or because it had to.
func (s *Server) Done() <-chan struct{} { return s.tasks.Context().Done() }

// Close ends all polls and stops listening.
func (s *Server) Close() error {
	stopping := make(chan error, 1)
	s.tasks.Go("stop", func(ctx context.Context) error {
		<-ctx.Done() // the polls' context has ended too
		bound, cancel := context.WithTimeout(context.Background(), stopBound)
		defer cancel()
		err := s.http.Shutdown(bound)
		stopping <- errors.Join(err, s.http.Close())
		return nil
	})
	if err := s.tasks.Stop(2 * stopBound); err != nil {
		return fmt.Errorf("close control: %w", err)
	}
	select {
	case err := <-stopping:
		if err != nil {
			return fmt.Errorf("close control: %w", err)
		}
	default: // it was closed before
	}
	return nil
}

func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	poll(w, r, func(ctx context.Context, after uint64) (any, error) {
		st, err := s.votes.Watch(ctx, after)
		return without(st, callerIn(ctx)), err
	})
}

func (s *Server) order(w http.ResponseWriter, r *http.Request) {
	poll(w, r, func(ctx context.Context, after uint64) (any, error) { return s.orders.Order(ctx, after) })
}

func poll(w http.ResponseWriter, r *http.Request, wait func(context.Context, uint64) (any, error)) {
	var after uint64
	if text := r.URL.Query().Get("after"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			answer(w, http.StatusBadRequest, &Error{Message: fmt.Sprintf("after=%.30q: want a number", text), Refused: true})
			return
		}
		after = n
	}
	ctx, cancel := context.WithTimeout(r.Context(), pollBound)
	defer cancel()
	news, err := wait(ctx, after)
	switch {
	case err == nil:
		answer(w, http.StatusOK, news)
	case r.Context().Err() == nil && errors.Is(err, context.DeadlineExceeded):
		w.WriteHeader(http.StatusNoContent)
	default:
		fail(w, err)
	}
}

func (s *Server) propose(w http.ResponseWriter, r *http.Request) {
	b, ok := body(w, r, maxProposal)
	if !ok {
		return
	}
	do, err := decodeProposal(b)
	if err != nil {
		answer(w, http.StatusBadRequest, &Error{Message: err.Error(), Refused: true})
		return
	}
	if c := callerIn(r.Context()); !c.all && (c.propose == nil || !c.propose(do)) {
		mayNot(w, c, fmt.Sprintf("propose %T", do))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), proposeBound)
	defer cancel()
	res, err := s.votes.Propose(ctx, do)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, res)
}

func (s *Server) report(w http.ResponseWriter, r *http.Request) {
	b, ok := body(w, r, maxReport)
	if !ok {
		return
	}
	if c := callerIn(r.Context()); !c.all && c.name != r.PathValue("name") {
		mayNot(w, c, fmt.Sprintf("report as %.40q", r.PathValue("name")))
		return
	}
	if err := s.reports.Take(r.PathValue("name"), b); err != nil {
		s.log.Warn("report not understood", "name", fmt.Sprintf("%.40q", r.PathValue("name")), "cause", err)
		answer(w, http.StatusBadRequest, &Error{Message: err.Error(), Refused: true})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.reports.Status())
}

// body reads a bounded body; it answers by itself when it cannot.
func body(w http.ResponseWriter, r *http.Request, bound int64) ([]byte, bool) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bound))
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		answer(w, http.StatusRequestEntityTooLarge, &Error{Message: fmt.Sprintf("body is longer than %d bytes", bound), Refused: true})
		return nil, false
	}
	if err != nil {
		answer(w, http.StatusBadRequest, &Error{Message: fmt.Sprintf("read body: %v", err)})
		return nil, false
	}
	return b, true
}

// fail tells a refusal from what may be tried again.
func fail(w http.ResponseWriter, err error) {
	if errors.Is(err, cluster.ErrRefused) {
		answer(w, http.StatusConflict, &Error{Message: err.Error(), Refused: true})
		return
	}
	answer(w, http.StatusServiceUnavailable, &Error{Message: err.Error()})
}

func answer(w http.ResponseWriter, code int, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		code, b = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be encoded","refused":false}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(b) // a client that went away
}
