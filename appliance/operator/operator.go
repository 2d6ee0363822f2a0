package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"beffroi.dev/appliance/pairing"
	"beffroi.dev/appliance/socket"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/task"
)

// Socket is where init listens.
const Socket = "/run/beffroi/operator.sock"

const (
	maxAsk    = 64 << 10
	maxAnswer = 1 << 20
	bound     = 5 * time.Second
	stopBound = 2 * time.Second
)

// Deed is what is asked for.
type Deed string

// The deeds.
const (
	Begin   Deed = "begin"   // a founding, with Request
	Meet    Deed = "meet"    // the twin, or with Witness the witness, by Code
	Found   Deed = "found"   // the pair
	Cancel  Deed = "cancel"  // the founding
	Noted   Deed = "noted"   // the first secrets
	Forget  Deed = "forget"  // what was prepared for a founder that never came back
	Erase   Deed = "erase"   // a node without a pair: its store's head and its identity; it reboots
	Look    Deed = "look"    // for a machine that takes the lost twin's place
	Replace Deed = "replace" // the lost twin by the machine that shows Code
	TryLan  Deed = "try"     // a Lan, for a while
	KeepLan Deed = "keep"    // the one that is tried
	UndoLan Deed = "restore" // the one before
)

// Ask is one request.
type Ask struct {
	Do      Deed             `json:"do"`
	Request *pairing.Request `json:"request,omitempty"`
	Witness bool             `json:"witness,omitempty"`
	Code    string           `json:"code,omitempty"`
	Address string           `json:"address,omitempty"`
	Lan     *netcfg.Lan      `json:"lan,omitempty"`
}

// State is what init says of it all.
type State struct {
	Pairing *pairing.Status `json:"pairing,omitempty"` // nil: a founded node that has nothing left to tell
	Profile string          `json:"profile,omitempty"` // of timing, that suits this machine
	Lan     *netcfg.Lan     `json:"lan,omitempty"`     // as configured; without the pair's own addresses
	Trial   int             `json:"trial,omitempty"`   // seconds until a tried Lan is undone; 0: none is tried
	Fixed   []string        `json:"fixed,omitempty"`   // addresses of the lan by which others know this node
}

// BadNetwork is the reason of a Lan that cannot be.
const BadNetwork pairing.Reason = "bad-network"

// Desk decides and acts.
type Desk interface {
	State() State
	Do(ctx context.Context, a Ask) error
}

// Serve answers on the socket until ctx ends.
func Serve(ctx context.Context, path string, d Desk, log *slog.Logger) error {
	l, err := socket.Bind(path)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/state", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, d.State()) })
	mux.HandleFunc("POST /v1/do", func(w http.ResponseWriter, r *http.Request) {
		var a Ask
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsk))
		dec.DisallowUnknownFields()
		err := dec.Decode(&a)
		if err == nil {
			err = d.Do(r.Context(), a)
			log.Info("the console asked", "do", a.Do, "cause", err)
		}
		if err != nil {
			answer(w, http.StatusBadRequest, pairing.AsFault(err, pairing.BadMessage))
			return
		}
		answer(w, http.StatusOK, struct{}{})
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: bound, BaseContext: func(net.Listener) context.Context { return ctx }}
	tasks := task.New(ctx)
	tasks.Go("operator's end", func(ctx context.Context) error {
		<-ctx.Done()
		return srv.Close()
	})
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(fmt.Errorf("operator's socket: %w", err), tasks.Stop(stopBound))
	}
	return tasks.Stop(stopBound)
}

func answer(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		code, b = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(b) // the console has gone
}

// Client asks init.
type Client struct{ http *http.Client }

// NewClient makes a client of a socket; nothing is dialled yet.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", socket)
	}}}}
}

// State asks what is so now.
func (c *Client) State(ctx context.Context) (State, error) {
	var s State
	return s, c.call(ctx, http.MethodGet, "/v1/state", nil, &s)
}

// Do asks for a deed. A refusal is a *pairing.Fault.
func (c *Client) Do(ctx context.Context, a Ask) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, "/v1/do", b, nil)
}

func (c *Client) call(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://init"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask init: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask init: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		f := &pairing.Fault{}
		if json.Unmarshal(b, f) != nil || f.Reason == "" {
			return fmt.Errorf("ask init: %s", res.Status)
		}
		return f
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("answer of init: %w", err)
	}
	return nil
}
