package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"beffroi.dev/appliance/socket"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// caller is who asks.
type caller struct {
	name    string
	role    cluster.Role
	session bool // a browser that the console has logged in
	from    string
}

// RequestHeader must come with a logged-in user's request that changes something.
const RequestHeader = "X-Beffroi-Request"

type userKey struct{}
type peerKey struct{}

// WithUser marks a request as that of a user whom the caller has authenticated.
// The role is looked up in the voted state.
func WithUser(r *http.Request, name string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), userKey{}, name))
}

var ranks = map[cluster.Role]int{cluster.RoleViewer: 1, cluster.RoleOperator: 2, cluster.RoleAdmin: 3}

// guard lets only those in who may, and answers errors.
func (a *API) guard(least cluster.Role, serve func(http.ResponseWriter, *http.Request, caller) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := a.identify(r)
		switch {
		case err != nil:
		case ranks[who.role] < ranks[least]:
			err = &Error{Code: Forbidden, Message: fmt.Sprintf("user %s has the role %s; this needs the role %s", who.name, who.role, least), Hint: "ask an administrator"}
		case who.session && r.Method != http.MethodGet && r.Header.Get(RequestHeader) == "":
			err = &Error{Code: Forbidden, Message: "the request lacks the header " + RequestHeader, Hint: "it may come from a foreign page"}
		default:
			err = serve(w, r, who)
		}
		if err != nil {
			a.denied(r, err)
			writeError(w, err)
		}
	}
}

// denied logs callers that may not, once a second at most.
func (a *API) denied(r *http.Request, err error) {
	e := explain(err)
	if e.Code != Unauthenticated && e.Code != Forbidden && e.Code != Failed {
		return
	}
	a.mu.Lock()
	quiet := time.Since(a.deniedLog) < time.Second
	if !quiet {
		a.deniedLog = time.Now()
	}
	a.mu.Unlock()
	if !quiet {
		a.log.Warn("request not served", "method", r.Method, "path", r.URL.Path, "from", r.RemoteAddr, "code", e.Code, "cause", e.Message)
	}
}

func (a *API) identify(r *http.Request) (caller, error) {
	if peer, ok := r.Context().Value(peerKey{}).(string); ok {
		return caller{name: "local", role: cluster.RoleAdmin, from: peer}, nil
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		if a.token != "" && equal(token, a.token) {
			return caller{name: "token", role: cluster.RoleAdmin, from: r.RemoteAddr}, nil
		}
		return caller{}, &Error{Code: Unauthenticated, Message: "this token is not the administrator's", Hint: "it lies in the file \"token\" of the node's state folder"}
	}
	name, ok := r.Context().Value(userKey{}).(string)
	if !ok {
		return caller{}, &Error{Code: Unauthenticated, Message: "who asks is not known", Hint: "send the header Authorization: Bearer TOKEN"}
	}
	s, err := a.state(r.Context())
	if err != nil {
		return caller{}, err
	}
	u, ok := s.Users[name]
	if !ok {
		return caller{}, &Error{Code: Unauthenticated, Message: fmt.Sprintf("user %.60q does not exist any more", name)}
	}
	return caller{name: name, role: u.Role, session: true, from: r.RemoteAddr}, nil
}

// equal compares in a time that depends on neither's content nor length.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// ServeLocal serves a unix socket until ctx ends: its callers are administrators,
// if they are this process's own user or root.
func (a *API) ServeLocal(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: http.HandlerFunc(a.local), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if peer, ok := trusted(c); ok {
				return context.WithValue(ctx, peerKey{}, peer)
			}
			return ctx
		},
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("api: serve local socket: %w", err)
	}
	return nil
}

func (a *API) local(w http.ResponseWriter, r *http.Request) {
	if _, ok := r.Context().Value(peerKey{}).(string); !ok {
		writeError(w, &Error{Code: Forbidden, Message: "this socket is for root and for the user of the node's services", Hint: "use --url and --token-file"})
		return
	}
	a.mux.ServeHTTP(w, r)
}

// trusted asks the kernel who is at the other end.
func trusted(c net.Conn) (string, bool) {
	p, err := socket.PeerOf(c)
	if err != nil {
		return "", false
	}
	return fmt.Sprintf("process %d of user %d", p.PID, p.User), p.User == 0 || p.User == os.Getuid()
}

// audit notes a change with its author: in the log, and in the pair's history. The
// change is made already, so a history that cannot be written fails nothing.
func (a *API) audit(ctx context.Context, who caller, e cluster.Event, what string) {
	a.log.Info("change", "user", who.name, "role", who.role, "from", who.from, "what", what)
	e.Kind, e.Node, e.New, e.Cause = "audit", a.cfg.Self, what, who.name+" ("+who.from+")"
	a.tasks.Go("audit", func(context.Context) error {
		if _, err := a.propose(context.WithoutCancel(ctx), &cluster.Record{Event: e}); err != nil {
			a.log.Warn("change is not in the history", "what", what, "cause", err)
		}
		return nil
	})
}

// nodeNamed finds a data node by its name.
func nodeNamed(s *cluster.State, name string) (ident.Node, error) {
	var names []string
	for _, id := range s.DataNodes() {
		if s.Nodes[id].Name == name {
			return id, nil
		}
		names = append(names, s.Nodes[id].Name)
	}
	return 0, badInput("node %.60q: use %s", name, strings.Join(names, " or "))
}
