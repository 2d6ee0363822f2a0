package control_test

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
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/socket"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// node is a node service in a few lines.
type node struct {
	mu     sync.Mutex // guards all below
	state  *cluster.State
	order  control.Order
	parts  map[string]string
	asked  []cluster.Action
	change chan struct{}
}

func newNode() *node {
	s := cluster.New(ident.NewUUID(), map[ident.Node]cluster.Node{1: {Name: "a", Kind: cluster.KindNode}, 2: {Name: "b", Kind: cluster.KindNode}, 3: {Name: "w", Kind: cluster.KindWitness}})
	s.Index = 5
	return &node{state: s, parts: map[string]string{}, change: make(chan struct{})}
}

func (n *node) update(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.change)
	n.change = make(chan struct{})
}

func await[T any](ctx context.Context, n *node, have func() (T, bool)) (T, error) {
	for {
		n.mu.Lock()
		v, ok := have()
		change := n.change
		n.mu.Unlock()
		if ok {
			return v, nil
		}
		select {
		case <-ctx.Done():
			return v, ctx.Err()
		case <-change:
		}
	}
}

func (n *node) Watch(ctx context.Context, after uint64) (*cluster.State, error) {
	return await(ctx, n, func() (*cluster.State, bool) { return n.state.Clone(), n.state.Index > after })
}

func (n *node) Order(ctx context.Context, after uint64) (control.Order, error) {
	return await(ctx, n, func() (control.Order, bool) { return n.order, n.order.Serial > after })
}

func (n *node) Propose(_ context.Context, do cluster.Action) (cluster.Result, error) {
	n.update(func() { n.asked = append(n.asked, do) })
	switch a := do.(type) {
	case *cluster.DeleteGroup:
		return cluster.Result{}, fmt.Errorf("%w: group %d does not exist", cluster.ErrRefused, a.Group)
	case *cluster.DeleteVM:
		return cluster.Result{}, errors.New("proposal undecided: no majority")
	}
	return cluster.Result{VM: 7}, nil
}

func (n *node) Take(name string, part []byte) error {
	if name != "vm" {
		return fmt.Errorf("no service is called %.20q", name)
	}
	n.update(func() { n.parts[name] = string(part) })
	return nil
}

func (n *node) Status() status.Node { return status.Node{Name: "a", ID: 1} }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// socketFolder is short: a socket's path has at most 107 bytes.
func socketFolder(t *testing.T) string {
	d, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	return d
}

func serve(t *testing.T, n *node, path string) *control.Server {
	l, err := socket.Bind(path)
	if err != nil {
		t.Fatal(err)
	}
	s := control.Serve(t.Context(), l, n, n, n, quiet())
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func setup(t *testing.T) (*node, *control.Client, string) {
	n, socket := newNode(), filepath.Join(socketFolder(t), "node.sock")
	serve(t, n, socket)
	return n, control.NewClient(socket), socket
}

func TestAPollWaitsForNews(t *testing.T) {
	n, c, _ := setup(t)
	if s, err := c.State(t.Context(), 0); err != nil || s.Index != 5 {
		t.Fatalf("State(0) = %v, %v; want the state known, index 5", s, err)
	}
	time.AfterFunc(30*time.Millisecond, func() {
		n.update(func() {
			n.state.Index = 9
			n.order = control.Order{Serial: 3, Address: true, Run: []control.VMOrder{{VM: 1, Generation: 4}}}
		})
	})
	if s, err := c.State(t.Context(), 5); err != nil || s.Index != 9 {
		t.Errorf("State(5) = %v, %v; want index 9", s, err)
	}
	if o, err := c.Order(t.Context(), 2); err != nil || o.Serial != 3 || !o.Address || len(o.Run) != 1 || o.Run[0].Generation != 4 {
		t.Errorf("Order(2) = %+v, %v; want the third", o, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.State(ctx, 9); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("State without news = %v; want the caller's deadline", err)
	}
}

func TestAWatcherOutlivesARestartOfTheNodeService(t *testing.T) {
	n, socket := newNode(), filepath.Join(socketFolder(t), "node.sock")
	c := control.NewClient(socket)
	first := serve(t, n, socket)
	got := make(chan uint64, 1)
	go func() {
		s, err := c.Watch(t.Context(), 5)
		if err != nil {
			t.Error(err)
			got <- 0
			return
		}
		got <- s.Index
	}()
	time.Sleep(20 * time.Millisecond) // the poll is open
	if err := first.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if _, err := c.State(t.Context(), 0); err == nil {
		t.Error("State succeeded without a node service")
	}
	serve(t, n, socket)
	n.update(func() { n.state.Index = 6 })
	if i := <-got; i != 6 {
		t.Errorf("Watch returned index %d; want 6", i)
	}
}

func TestAProposalArrivesWholeAndItsOutcomeComesBack(t *testing.T) {
	n, c, _ := setup(t)
	run := true
	do := &cluster.UpdateVM{VM: 7, Run: &run}
	if r, err := c.Propose(t.Context(), do); err != nil || r.VM != 7 {
		t.Errorf("Propose = %+v, %v; want VM 7", r, err)
	}
	if got, ok := n.asked[0].(*cluster.UpdateVM); !ok || got.VM != 7 || got.Run == nil || !*got.Run {
		t.Errorf("arrived %#v; want %#v", n.asked[0], do)
	}
	_, err := c.Propose(t.Context(), &cluster.DeleteGroup{Group: 9})
	var e *control.Error
	if !errors.Is(err, cluster.ErrRefused) || !errors.As(err, &e) || !strings.Contains(e.Message, "does not exist") {
		t.Errorf("a refused proposal: %v; want a refusal with its reason", err)
	}
	if _, err := c.Propose(t.Context(), &cluster.DeleteVM{VM: 1}); err == nil || errors.Is(err, cluster.ErrRefused) {
		t.Errorf("an undecided proposal: %v; want an error that is no refusal", err)
	}
}

func TestReportsAndStatus(t *testing.T) {
	n, c, _ := setup(t)
	if err := c.Report(t.Context(), "vm", []status.VM{{ID: 3, State: "running"}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(n.parts["vm"], `"running"`) {
		t.Errorf("part %s; want the VM", n.parts["vm"])
	}
	if err := c.Report(t.Context(), "toaster", 1); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("a report of nobody: %v; want a refusal", err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Name != "a" {
		t.Errorf("Status = %+v, %v", s, err)
	}
}

func TestBadRequestsAreAnsweredWithAnError(t *testing.T) {
	_, _, socket := setup(t)
	raw := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	for _, tt := range []struct {
		name, method, path string
		body               []byte
		want               int
	}{
		{"not a number", "GET", "/v1/state?after=soon", nil, 400},
		{"not JSON", "POST", "/v1/propose", []byte("{"), 400},
		{"an unknown field", "POST", "/v1/propose", []byte(`{"kind":"delete-vm","do":{"vm":1},"now":true}`), 400},
		{"an unknown field of a command", "POST", "/v1/propose", []byte(`{"kind":"delete-vm","do":{"vm":1,"force":true}}`), 400},
		{"an unknown command", "POST", "/v1/propose", []byte(`{"kind":"teleport","do":{}}`), 400},
		{"two values", "POST", "/v1/propose", []byte(`{"kind":"delete-vm","do":{"vm":1}} {}`), 400},
		{"nothing to do", "POST", "/v1/propose", []byte(`{"kind":"delete-vm"}`), 400},
		{"too long", "POST", "/v1/propose", bytes.Repeat([]byte(" "), 300<<10), 413},
		{"too long a report", "PUT", "/v1/report/vm", make([]byte, 5<<20), 413},
		{"another path", "GET", "/v2/state", nil, 404},
		{"another method", "DELETE", "/v1/state", nil, 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://node"+tt.path, bytes.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := raw.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var e control.Error
			if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || resp.StatusCode != tt.want || e.Message == "" || !e.Refused {
				t.Errorf("%d, %+v, %v; want %d and a refusal that says why", resp.StatusCode, e, err, tt.want)
			}
		})
	}
}

func TestTheSocketIsForItsUserAlone(t *testing.T) {
	_, _, socket := setup(t)
	fi, err := os.Stat(socket)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", fi.Mode().Perm(), err)
	}
}
