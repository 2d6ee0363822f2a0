package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"beffroi.dev/appliance/agents"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// counter is the citizen service of this node, if it is this one's to answer about
// agents: they lie on the citizens' volume, which one node opens at a time.
func (a *API) counter(ctx context.Context) (*agents.Client, error) {
	s, err := a.state(ctx)
	if err != nil {
		return nil, err
	}
	g, ok := s.Groups[s.Service.Group]
	if !ok {
		return nil, &Error{Code: Refused, Message: "no group holds the citizen service, so there are no agents", Hint: "choose one: PUT service"}
	}
	if g.Config.Primary != a.cfg.Self {
		leads := s.Nodes[g.Config.Primary].Name
		return nil, &Error{Code: Elsewhere, Node: leads, Message: fmt.Sprintf("citizens are served by node %s, which alone knows the agents", leads), Hint: "ask node " + leads}
	}
	return a.citizen, nil
}

// faults are what is said of a refusal of the citizen service.
var faults = map[agents.Code]Error{
	agents.BadRequest:  {Code: BadInput},
	agents.BadName:     {Code: BadInput, Field: "name"},
	agents.BadDisplay:  {Code: BadInput, Field: "display"},
	agents.BadPassword: {Code: BadInput, Field: "password"},
	agents.Nothing:     {Code: BadInput, Hint: "give a password, or secret: true"},
	agents.Exists:      {Code: Refused, Field: "name", Hint: "choose another name; an agent whose secret was not seen gets another by renew, one who was closed by reopen"},
	agents.Unknown:     {Code: NotFound, Hint: "GET agents lists them"},
	agents.IsClosed:    {Code: Refused, Field: "name", Hint: "reopen gives a closed agent a new password and a new secret"},
	agents.IsOpen:      {Code: Refused, Field: "name", Hint: "renew gives a new password, a new secret, or both"},
	agents.NotServing:  {Code: Unavailable, Hint: "it may be taking the service over; look at the status and try again"},
	agents.Failed:      {Code: Unavailable, Hint: "the citizens' volume may be in a switch; look at the list of agents before you try again"},
}

// refusal words what the citizen service did not do.
func refusal(err error) error {
	var e *agents.Error
	if err == nil {
		return nil
	}
	if !errors.As(err, &e) {
		return &Error{Code: Unavailable, Message: "the citizen service of this node does not answer: " + err.Error(),
			Hint: "what was asked may be done all the same: look at the list of agents; renew gives a new secret"}
	}
	out, ok := faults[e.Code]
	if !ok {
		out.Code = Failed
	}
	out.Message = e.Message
	return &out
}

func (a *API) agents(w http.ResponseWriter, r *http.Request, _ caller) error {
	c, err := a.counter(r.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), askBound)
	defer cancel()
	list, err := c.List(ctx)
	if err != nil {
		return refusal(err)
	}
	write(w, http.StatusOK, list)
	return nil
}

func (a *API) createAgent(w http.ResponseWriter, r *http.Request, who caller) error {
	var in NewAgent
	if err := read(w, r, &in); err != nil {
		return err
	}
	c, err := a.counter(r.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), proposeBound)
	defer cancel()
	e, err := c.Create(ctx, agents.New{Name: in.Name, Display: in.Display, Password: in.Password, By: who.name})
	if err != nil {
		return refusal(err)
	}
	a.audit(r.Context(), who, cluster.Event{}, "create agent "+in.Name)
	write(w, http.StatusCreated, e)
	return nil
}

// named is the agent of the path.
func named(r *http.Request) (string, error) {
	name := r.PathValue("name")
	if ident.CheckName(name) != nil { // nobody has it
		return "", notFound("agent", name, "agents")
	}
	return name, nil
}

func (a *API) renewAgent(w http.ResponseWriter, r *http.Request, who caller) error {
	return a.replace(w, r, who, "renew agent ", (*agents.Client).Renew)
}

func (a *API) reopenAgent(w http.ResponseWriter, r *http.Request, who caller) error {
	return a.replace(w, r, who, "reopen agent ", (*agents.Client).Reopen)
}

// replace gives an agent a new password, a new secret, or both.
func (a *API) replace(w http.ResponseWriter, r *http.Request, who caller, what string, do func(*agents.Client, context.Context, string, agents.Renewal) (agents.Enrolment, error)) error {
	var in AgentRenewal
	if err := read(w, r, &in); err != nil {
		return err
	}
	name, err := named(r)
	if err != nil {
		return err
	}
	c, err := a.counter(r.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), proposeBound)
	defer cancel()
	e, err := do(c, ctx, name, agents.Renewal{Password: in.Password, Secret: in.Secret, By: who.name})
	if err != nil {
		return refusal(err)
	}
	var parts []string
	if in.Password != "" {
		parts = append(parts, "new password")
	}
	if e.Secret != "" {
		parts = append(parts, "new secret")
	}
	a.audit(r.Context(), who, cluster.Event{}, what+name+": "+strings.Join(parts, ", "))
	write(w, http.StatusOK, e)
	return nil
}

func (a *API) closeAgent(w http.ResponseWriter, r *http.Request, who caller) error {
	name, err := named(r)
	if err != nil {
		return err
	}
	c, err := a.counter(r.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), proposeBound)
	defer cancel()
	changed, err := c.Close(ctx, name, who.name)
	if err != nil {
		return refusal(err)
	}
	if changed {
		a.audit(r.Context(), who, cluster.Event{}, "close agent "+name)
	}
	write(w, http.StatusOK, Changed{changed})
	return nil
}
