package address

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"beffroi.dev/appliance/socket"
)

// Holder is the address of this machine's network.
type Holder interface {
	Hold(ctx context.Context) error
	Drop() error
}

const (
	path = "/v1/address"
	// bound is how long an answer may take: links and addresses are quick.
	bound = 5 * time.Second
)

// Server is init's side.
type Server struct {
	holder Holder
	remove func() error // takes the address off the machine, whatever else goes on
	fenced atomic.Int64 // the process that may hold it no more
}

// NewServer makes a server; remove must not wait for the holder.
func NewServer(h Holder, remove func() error) *Server { return &Server{holder: h, remove: remove} }

// Fence takes the address off the machine, and lets the process pid never hold it
// again. It does not wait for requests under way.
func (s *Server) Fence(pid int) error {
	s.fenced.Store(int64(pid))
	return s.remove()
}

type peerKey struct{}

// Run answers until ctx ends. It owns l.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT "+path, s.hold)
	mux.HandleFunc("DELETE "+path, s.drop)
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: bound, ReadTimeout: bound, MaxHeaderBytes: 4 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peer(c))
		},
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("service address: serve: %w", err)
	}
	return nil
}

// peer is the process at the other end; 0 if the kernel does not tell.
func peer(c net.Conn) int64 {
	p, err := socket.PeerOf(c)
	if err != nil {
		return 0
	}
	return int64(p.PID)
}

var errFenced = errors.New("nobody vouches for this node: the address was taken off it")

func (s *Server) hold(w http.ResponseWriter, r *http.Request) {
	pid, _ := r.Context().Value(peerKey{}).(int64)
	if s.fenced.Load() == pid {
		http.Error(w, errFenced.Error(), http.StatusConflict)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), bound)
	defer cancel()
	err := s.holder.Hold(ctx)
	if s.fenced.Load() == pid { // it passed meanwhile
		http.Error(w, errors.Join(errFenced, s.holder.Drop()).Error(), http.StatusConflict)
		return
	}
	answer(w, err)
}

func (s *Server) drop(w http.ResponseWriter, _ *http.Request) { answer(w, s.holder.Drop()) }

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Client is the citizen service's side.
type Client struct{ http *http.Client }

// NewClient makes a client of init's socket.
func NewClient(socket string) *Client {
	return &Client{&http.Client{Timeout: 2 * bound, Transport: &http.Transport{
		DisableKeepAlives: true, // few requests, and init may be another one by then
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Hold asks init to hold the address.
func (c *Client) Hold(ctx context.Context) error { return c.ask(ctx, http.MethodPut, "hold") }

// Drop asks init to give it back.
func (c *Client) Drop() error { return c.ask(context.Background(), http.MethodDelete, "give back") }

func (c *Client) ask(ctx context.Context, method, what string) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://init"+path, nil)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask init to %s the service address: %w", what, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // what was read tells enough
	return fmt.Errorf("init cannot %s the service address: %s", what, strings.TrimSpace(string(b)))
}
