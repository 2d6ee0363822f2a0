package control

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"beffroi.dev/appliance/socket"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/quorum/cluster"
)

// caller is what a process at the other end may ask for.
type caller struct {
	name    string                       // of its service; it reports under this one
	propose func(do cluster.Action) bool // nil: nothing
	people  bool                         // it may see users, with the hashes of their passwords
	all     bool                         // it is this service's own user, or root
}

// callers are the services of an appliance, each with a user of its own. Where they
// all run as one user, as on somebody's machine, that user may do all.
var callers = map[account.ID]caller{
	account.Citizen: {name: "citizen"},
	account.Block: {name: "block", propose: func(do cluster.Action) bool {
		_, ok := do.(*cluster.Reconfigure)
		return ok
	}},
	account.VM: {name: "vm", propose: func(do cluster.Action) bool {
		switch do.(type) {
		case *cluster.PlaceVM, *cluster.UpdateVM:
			return true
		}
		return false
	}},
	account.Console: {name: "console", people: true, propose: func(cluster.Action) bool { return true }},
}

type callerKey struct{}

// withCaller asks the kernel who is at the other end. Somebody unknown may look at
// what has no secrets, if the socket's file let them in.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, callerKey{}, identify(c))
}

func identify(c net.Conn) caller {
	p, err := socket.PeerOf(c)
	if err != nil {
		return caller{}
	}
	return callerOf(p.User, os.Getuid())
}

// callerOf is what a user may ask of a service that runs as another one.
func callerOf(user, own int) caller {
	if user == 0 || user == own {
		return caller{all: true, people: true}
	}
	return callers[account.ID(user)]
}

func callerIn(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// mayNot answers a caller that asks for more than it may.
func mayNot(w http.ResponseWriter, c caller, what string) {
	answer(w, http.StatusForbidden, &Error{Message: fmt.Sprintf("the service %q may not %s", c.name, what), Refused: true})
}

// without leaves out what a caller may not see.
func without(s *cluster.State, c caller) *cluster.State {
	if s == nil || c.people {
		return s
	}
	public := *s
	public.Users = map[string]cluster.User{}
	return &public
}
