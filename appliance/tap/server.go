package tap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"beffroi.dev/appliance/socket"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

const (
	path = "/v1/taps"
	// bound is how long an answer may take: links are quick, and so is the node service.
	bound = 5 * time.Second
	// voteBound is how long the node service may take to say what is voted.
	voteBound = 2 * time.Second
)

// Network makes taps; it is a *netcfg.Engine.
type Network interface {
	AddTap(vm string, index, uid int) (string, error)
	RemoveTap(vm string, index int) error
	Taps() ([]netcfg.Tap, error)
}

// Vote tells the voted state; it is a *control.Client.
type Vote interface {
	Watch(ctx context.Context, after uint64) (*cluster.State, error)
}

// Server is init's side.
type Server struct {
	self ident.Node
	vote Vote
	net  Network
	log  *slog.Logger
	mu   sync.Mutex // one change at a time: a tap is looked at before it is removed
}

// NewServer makes the server of the node self.
func NewServer(self ident.Node, vote Vote, n Network, log *slog.Logger) *Server {
	return &Server{self: self, vote: vote, net: n, log: log.With("room", "tap")}
}

type peerKey struct{}

// Run answers until ctx ends. It owns l.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, s.only(s.list))
	mux.HandleFunc("PUT "+path+"/{vm}", s.only(s.plug))
	mux.HandleFunc("DELETE "+path+"/{vm}", s.only(s.unplug))
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: bound, ReadTimeout: bound, MaxHeaderBytes: 4 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peer(c))
		},
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("taps: serve: %w", err)
	}
	return nil
}

// peer is the user at the other end; -1 if the kernel does not tell.
func peer(c net.Conn) int {
	p, err := socket.PeerOf(c)
	if err != nil {
		return -1
	}
	return p.User
}

// mayAsk tells whether a user may ask a server that runs as own.
func mayAsk(user, own int) bool { return user == int(account.VM) || user == own }

// fault is an error with the code that answers it.
type fault struct {
	code int
	error
}

func faultf(code int, format string, args ...any) error {
	return fault{code, fmt.Errorf(format, args...)}
}

// only lets the vm service through, and words the errors.
func (s *Server) only(do func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, ok := r.Context().Value(peerKey{}).(int)
		if !ok || !mayAsk(user, os.Getuid()) {
			s.log.Warn("somebody else asked for taps", "user", user)
			http.Error(w, "only the vm service may ask for taps", http.StatusForbidden)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		out, err := do(r)
		var f fault
		switch {
		case errors.As(err, &f):
			http.Error(w, f.Error(), f.code)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case out == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(out) // the other end of a local socket is gone: nothing to tell it
		}
	}
}

// listed and plugged are the answers.
type listed struct {
	VMs []ident.VM `json:"vms"`
}

type plugged struct {
	Links []string `json:"links"`
}

// taps are those that are there, by VM.
func (s *Server) taps() (map[ident.VM][]netcfg.Tap, error) {
	all, err := s.net.Taps()
	if err != nil {
		return nil, err
	}
	by := map[ident.VM][]netcfg.Tap{}
	for _, t := range all {
		id, err := parse(t.VM)
		if err != nil {
			s.log.Warn("a tap is nobody's", "link", t.Link, "cause", err)
			continue
		}
		by[id] = append(by[id], t)
	}
	return by, nil
}

func parse(text string) (ident.VM, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%.20q is no VM's number", text)
	}
	return ident.VM(n), nil
}

func name(id ident.VM) string { return strconv.FormatUint(uint64(id), 10) }

func (s *Server) list(*http.Request) (any, error) {
	by, err := s.taps()
	if err != nil {
		return nil, err
	}
	out := listed{VMs: []ident.VM{}}
	for id := range by {
		out.VMs = append(out.VMs, id)
	}
	slices.Sort(out.VMs)
	return out, nil
}

func (s *Server) plug(r *http.Request) (any, error) {
	id, err := parse(r.PathValue("vm"))
	if err != nil {
		return nil, fault{http.StatusNotFound, err}
	}
	v, err := s.voted(r.Context(), id)
	if err != nil {
		return nil, err
	}
	user, err := account.OfGuest(uint64(id))
	if err != nil {
		return nil, fault{http.StatusConflict, err}
	}
	out := plugged{Links: []string{}}
	for i := range v.Cards {
		link, err := s.net.AddTap(name(id), i, int(user))
		if err != nil {
			return nil, err
		}
		out.Links = append(out.Links, link)
	}
	by, err := s.taps()
	if err != nil {
		return nil, err
	}
	for _, t := range by[id] { // of cards that were taken out
		if t.Index >= len(v.Cards) && !t.Used {
			if err := s.net.RemoveTap(t.VM, t.Index); err != nil {
				return nil, err
			}
		}
	}
	s.log.Info("taps are there", "vm", v.Name, "id", id, "links", out.Links, "user", user)
	return out, nil
}

// voted is a VM that may run here.
func (s *Server) voted(ctx context.Context, id ident.VM) (cluster.VM, error) {
	ctx, cancel := context.WithTimeout(ctx, voteBound)
	defer cancel()
	st, err := s.vote.Watch(ctx, 0)
	if err != nil {
		return cluster.VM{}, faultf(http.StatusServiceUnavailable, "what is voted is not known: %w", err)
	}
	v, ok := st.VMs[id]
	switch {
	case !ok:
		return v, faultf(http.StatusNotFound, "VM %d does not exist", id)
	case v.Node != s.self:
		return v, faultf(http.StatusConflict, "VM %s is placed on node %v, this is %v", v.Name, v.Node, s.self)
	}
	return v, nil
}

func (s *Server) unplug(r *http.Request) (any, error) {
	id, err := parse(r.PathValue("vm"))
	if err != nil {
		return nil, fault{http.StatusNotFound, err}
	}
	by, err := s.taps()
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(by[id], func(t netcfg.Tap) bool { return t.Used }) {
		return nil, faultf(http.StatusConflict, "VM %d: a QEMU has its taps open", id)
	}
	for _, t := range by[id] {
		if err := s.net.RemoveTap(t.VM, t.Index); err != nil {
			return nil, err
		}
	}
	if len(by[id]) > 0 {
		s.log.Info("taps are removed", "id", id, "count", len(by[id]))
	}
	return nil, nil
}
