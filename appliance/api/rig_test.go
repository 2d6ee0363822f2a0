package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

const (
	self  = ident.Node(1)
	twin  = ident.Node(2)
	token = "0123456789abcdef0123456789abcdef"
)

// rig is a node's services, as far as the API sees them.
type rig struct {
	t   *testing.T
	dir config.Dir
	api *api.API
	url string

	mu     sync.Mutex // guards all below
	state  *cluster.State
	vms    []status.VM
	silent bool // the node service does not answer
	mute   bool // volumes are not served
	disks  map[string]disk.Device
	slow   time.Duration // of each write
}

func (r *rig) Watch(ctx context.Context, _ uint64) (*cluster.State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent {
		return nil, context.DeadlineExceeded
	}
	return r.state.Clone(), nil
}

func (r *rig) Propose(_ context.Context, do cluster.Action) (cluster.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent {
		return cluster.Result{}, context.DeadlineExceeded
	}
	return cluster.Apply(r.state, cluster.Command{Do: do, WallMS: 1_800_000_000_000})
}

func (r *rig) Status(context.Context) (status.Node, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return status.Node{Name: "a", ID: self, VMs: r.vms}, nil
}

func (r *rig) apply(do cluster.Action) cluster.Result {
	r.t.Helper()
	res, err := r.Propose(context.Background(), do)
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// memory is a disk in memory whose writes may take time.
type memory struct {
	rig *rig
	mu  sync.Mutex // guards b
	b   []byte
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return copy(p, m.b[off:]), nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.rig.mu.Lock()
	slow := m.rig.slow
	m.rig.mu.Unlock()
	time.Sleep(slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	return copy(m.b[off:], p), nil
}

func (m *memory) Sync() error  { return nil }
func (m *memory) Size() int64  { return int64(len(m.b)) }
func (m *memory) Close() error { return nil }

// Open offers the volumes of the state, as the block service does.
func (r *rig) Open(name string) (nbd.Export, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.state.Groups {
		for _, v := range g.Volumes {
			if name == g.Name+"/"+v.Name && !r.mute {
				if r.disks[name] == nil {
					r.disks[name] = &memory{rig: r, b: make([]byte, v.SizeBytes)}
				}
				return nbd.Export{Name: name, Queue: disk.NewQueue(context.Background(), r.disks[name], 2)}, nil
			}
		}
	}
	return nbd.Export{}, fmt.Errorf("no volume %q", name)
}

func (r *rig) List() []string { return nil }

func newRig(t *testing.T) *rig {
	dir, err := os.MkdirTemp("", "api") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{t: t, dir: config.Dir(dir), disks: map[string]disk.Device{}}
	r.state = cluster.New(ident.NewUUID(), map[ident.Node]cluster.Node{
		self: {Name: "a", Kind: cluster.KindNode, Replica: ident.NewUUID()}, twin: {Name: "b", Kind: cluster.KindNode, Replica: ident.NewUUID()},
		9: {Name: "witness", Kind: cluster.KindWitness},
	})
	for _, d := range []string{r.dir.Run(), r.dir.Uploads()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(r.dir.Token(), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := nbd.NewServer(nbd.Config{}, r, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := r.listen("nbd")
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(context.Background(), l) }()
	t.Cleanup(func() { _ = server.Close(context.Background()); <-served })
	r.start()
	return r
}

func (r *rig) listen(name string) *net.UnixListener {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.dir.Socket(name), Net: "unix"})
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// start starts the API, in place of the one there is.
func (r *rig) start() {
	a, err := api.New(api.Config{Dir: r.dir, Self: self, ServeWait: 2 * time.Second}, r, slog.New(slog.NewTextHandler(r.t.Output(), nil)))
	if err != nil {
		r.t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user := req.Header.Get("Test-User"); user != "" {
			req = api.WithUser(req, user) // as the console does for a session
		}
		a.Handler().ServeHTTP(w, req)
	}))
	r.api, r.url = a, srv.URL
	r.t.Cleanup(func() {
		srv.Close()
		if err := a.Close(); err != nil {
			r.t.Error(err)
		}
	})
}

type answer struct {
	code int
	body []byte
	api.Error
}

// as asks as a user, or with the token for "token".
func (r *rig) as(user, method, path string, body any) answer {
	r.t.Helper()
	var b io.Reader
	switch v := body.(type) {
	case nil:
	case []byte:
		b = bytes.NewReader(v)
	case string:
		b = strings.NewReader(v)
	default:
		j, err := json.Marshal(v)
		if err != nil {
			r.t.Fatal(err)
		}
		b = bytes.NewReader(j)
	}
	req, err := http.NewRequest(method, r.url+"/api/v1/"+path, b)
	if err != nil {
		r.t.Fatal(err)
	}
	switch user {
	case "":
	case "token":
		req.Header.Set("Authorization", "Bearer "+token)
	default:
		req.Header.Set("Test-User", user)
		req.Header.Set(api.RequestHeader, "1")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	out := answer{code: resp.StatusCode}
	if out.body, err = io.ReadAll(resp.Body); err != nil {
		r.t.Fatal(err)
	}
	if out.code >= 400 {
		if err := json.Unmarshal(out.body, &out.Error); err != nil || out.Message == "" {
			r.t.Errorf("%s %s: %d without an error in JSON: %s", method, path, out.code, out.body)
		}
	}
	return out
}

func (r *rig) admin(method, path string, body any) answer {
	r.t.Helper()
	return r.as("token", method, path, body)
}

// get reads an answer of a kind.
func get[T any](r *rig, path string) T {
	r.t.Helper()
	var v T
	a := r.admin("GET", path, nil)
	if err := json.Unmarshal(a.body, &v); err != nil || a.code != http.StatusOK {
		r.t.Fatalf("GET %s: %d %s", path, a.code, a.body)
	}
	return v
}

func (r *rig) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// await waits for something.
func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never %s", what)
		}
	}
}
