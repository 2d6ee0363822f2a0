package town

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"beffroi.dev/appliance/agents"
	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/ident"
)

// maxAsk bounds what the console may say.
const maxAsk = 4096

// desk answers what the operators of this node ask about its agents.
type desk struct {
	open   func() *agent.Register // nil while this node does not serve
	issuer string                 // what a code application calls the town
	log    *slog.Logger
}

// Agents is the part of the node's own socket that package agents speaks with. The
// register is nil while this node does not serve citizens.
func Agents(open func() *agent.Register, issuer string, log *slog.Logger) http.Handler {
	d := &desk{open: open, issuer: issuer, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/agents", d.ask(http.StatusOK, d.list))
	mux.HandleFunc("POST /v1/agents", d.ask(http.StatusCreated, d.create))
	mux.HandleFunc("POST /v1/agents/{name}/renew", d.ask(http.StatusOK, d.renew((*agent.Register).Renew)))
	mux.HandleFunc("POST /v1/agents/{name}/reopen", d.ask(http.StatusOK, d.renew((*agent.Register).Reopen)))
	mux.HandleFunc("POST /v1/agents/{name}/close", d.ask(http.StatusOK, d.close))
	return mux
}

// ask answers with what f returns, or with its error.
func (d *desk) ask(good int, f func(ctx context.Context, r *http.Request, reg *agent.Register) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		reg := d.open()
		if reg == nil {
			answer(w, agents.NotServing.Status(), agents.Error{Code: agents.NotServing, Message: "this node does not serve citizens now"})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxAsk)
		v, err := f(r.Context(), r, reg)
		if err != nil {
			e := explain(err)
			if e.Code == agents.Failed {
				d.log.Warn("what was asked about an agent has failed", "method", r.Method, "path", r.URL.Path, "cause", err)
			}
			answer(w, e.Code.Status(), e)
			return
		}
		answer(w, good, v)
	}
}

// codes of what the register refuses.
var codes = []struct {
	err  error
	code agents.Code
}{
	{ident.ErrName, agents.BadName}, {agent.ErrDisplay, agents.BadDisplay}, {agent.ErrPassword, agents.BadPassword}, {agent.ErrNothing, agents.Nothing},
	{agent.ErrExists, agents.Exists}, {agent.ErrUnknown, agents.Unknown}, {agent.ErrClosed, agents.IsClosed}, {agent.ErrOpen, agents.IsOpen},
}

func explain(err error) *agents.Error {
	var e *agents.Error
	if errors.As(err, &e) {
		return e
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &agents.Error{Code: c.code, Message: err.Error()}
		}
	}
	return &agents.Error{Code: agents.Failed, Message: err.Error()}
}

// read decodes a body, all of it and nothing else. What was said is not repeated: it
// may be a password.
func read(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	if err != nil {
		return &agents.Error{Code: agents.BadRequest, Message: fmt.Sprintf("the body is not the JSON that is wanted here: %v", err)}
	}
	return nil
}

func (d *desk) list(ctx context.Context, _ *http.Request, reg *agent.Register) (any, error) {
	entries, err := reg.List(ctx)
	list := make([]agents.Agent, 0, len(entries))
	for _, e := range entries {
		list = append(list, agents.Agent{Name: e.Name, Display: e.Display, Made: e.Made.UTC(), LastLogin: moment(e.LastLogin), Closed: moment(e.Closed)})
	}
	return list, err
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (d *desk) create(ctx context.Context, r *http.Request, reg *agent.Register) (any, error) {
	var in agents.New
	if err := read(r, &in); err != nil {
		return nil, err
	}
	e, err := reg.Provision(ctx, agent.New{Name: in.Name, Display: in.Display, Password: in.Password, Issuer: d.issuer, By: in.By})
	return agents.Enrolment{Secret: e.Secret, URI: e.URI}, err
}

// renew answers a renewal, or a reopening.
func (d *desk) renew(do func(*agent.Register, context.Context, agent.Renewal) (agent.Enrolment, error)) func(context.Context, *http.Request, *agent.Register) (any, error) {
	return func(ctx context.Context, r *http.Request, reg *agent.Register) (any, error) {
		var in agents.Renewal
		if err := read(r, &in); err != nil {
			return nil, err
		}
		e, err := do(reg, ctx, agent.Renewal{Name: r.PathValue("name"), Password: in.Password, Secret: in.Secret, Issuer: d.issuer, By: in.By})
		return agents.Enrolment{Secret: e.Secret, URI: e.URI}, err
	}
}

func (d *desk) close(ctx context.Context, r *http.Request, reg *agent.Register) (any, error) {
	var in agents.Closing
	if err := read(r, &in); err != nil {
		return nil, err
	}
	changed, err := reg.Close(ctx, r.PathValue("name"), in.By)
	return agents.Closed{Changed: changed}, err
}
