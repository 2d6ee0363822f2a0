package console

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

const (
	self, twin, third = ident.Node(1), ident.Node(2), ident.Node(9)
	firstSecret       = "premier-mot-de-passe"
)

// rig is a node service, a browser and the console between them.
type rig struct {
	t   *testing.T
	dir config.Dir
	c   *Console
	url string
	web *http.Client

	mu     sync.Mutex // guards all below
	state  *cluster.State
	news   chan struct{} // closed when the state changes
	node   status.Node
	silent bool
	mute   bool // proposals find no majority
}

func (r *rig) Watch(ctx context.Context, after uint64) (*cluster.State, error) {
	for {
		r.mu.Lock()
		s, news := r.state.Clone(), r.news
		r.mu.Unlock()
		if s.Index > after {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-news:
		}
	}
}

func (r *rig) Propose(_ context.Context, do cluster.Action) (cluster.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mute {
		return cluster.Result{}, errors.New("no majority")
	}
	res, err := cluster.Apply(r.state, cluster.Command{Do: do, WallMS: 1_800_000_000_000})
	r.state.Index++
	close(r.news)
	r.news = make(chan struct{})
	return res, err
}

func (r *rig) Status(context.Context) (status.Node, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent {
		return status.Node{}, errors.New("connection refused")
	}
	return r.node, nil
}

func (r *rig) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *rig) apply(do cluster.Action) cluster.Result {
	r.t.Helper()
	res, err := r.Propose(r.t.Context(), do)
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

func newRig(t *testing.T) *rig {
	dir, err := os.MkdirTemp("", "con") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{t: t, dir: config.Dir(dir), news: make(chan struct{}), node: healthy()}
	r.state = cluster.New(ident.NewUUID(), map[ident.Node]cluster.Node{
		self: {Name: "a", Kind: cluster.KindNode, Replica: ident.NewUUID()}, twin: {Name: "b", Kind: cluster.KindNode, Replica: ident.NewUUID()},
		third: {Name: "witness", Kind: cluster.KindWitness},
	})
	r.state.Index = 1
	for path, text := range map[string]string{"admin-password": firstSecret, "token": strings.Repeat("t", 32)} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(r.dir.Run(), 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: r.dir, Self: self, Name: "a", Listen: "127.0.0.1:0", Every: 10 * time.Millisecond, Rest: 20 * time.Millisecond}
	if r.c, err = New(cfg, r, slog.New(slog.NewTextHandler(t.Output(), nil))); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewTLSServer(r.c.Handler())
	r.url = srv.URL
	t.Cleanup(func() {
		srv.Close()
		if err := r.c.Close(); err != nil {
			t.Error(err)
		}
	})
	r.web = r.browser()
	r.await(func() bool { return r.c.feed.now().known && !r.c.feed.now().at.IsZero() })
	return r
}

// await waits until the console has heard something of the node service.
func (r *rig) await(heard func() bool) {
	r.t.Helper()
	for end := time.Now().Add(5 * time.Second); !heard(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatal("the console never heard it from the node service")
		}
	}
}

// browser keeps cookies and shows redirects.
func (r *rig) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &http.Client{
		Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// do sends a form, or gets a page when there is none.
func (r *rig) do(path string, form url.Values) (*http.Response, string) {
	r.t.Helper()
	var resp *http.Response
	var err error
	if form == nil {
		resp, err = r.web.Get(r.url + path)
	} else {
		resp, err = r.web.PostForm(r.url+path, form)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(b)
}

func (r *rig) signIn(name, password string) *http.Response {
	r.t.Helper()
	resp, _ := r.do("/login", url.Values{"name": {name}, "password": {password}})
	return resp
}

// user makes an account of the voted state and signs it in.
func (r *rig) user(name string, role cluster.Role) {
	r.t.Helper()
	hash, err := api.HashPassword("mot-de-passe-" + name)
	if err != nil {
		r.t.Fatal(err)
	}
	r.apply(&cluster.SetUser{Name: name, User: cluster.User{Role: role, Hash: hash}})
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Second)
	defer cancel()
	if !r.c.feed.awaitUser(ctx, name) {
		r.t.Fatal("the account is not known to the console")
	}
	if resp := r.signIn(name, "mot-de-passe-"+name); resp.StatusCode != http.StatusSeeOther {
		r.t.Fatalf("sign-in of %s: %s", name, resp.Status)
	}
}

// healthy is a pair in good order, seen from node a.
func healthy() status.Node {
	link := func(peer ident.Node, path, kind string, data bool) status.Link {
		return status.Link{Peer: peer, Path: path, Kind: kind, Up: true, Data: data, RoundTripUS: 310}
	}
	return status.Node{
		Name: "a", ID: self, Kind: "node", Site: "principal", Time: time.Now(), Address: true,
		Votes: status.Votes{Role: "leader", Leader: self, Vouched: true},
		Links: []status.Link{
			link(twin, "fibre1", "vote", false), link(twin, "fibre2", "vote", false), link(twin, "lan", "vote", false), link(third, "lan", "vote", false),
			link(twin, "fibre1", "data", true), link(twin, "fibre2", "data", false),
		},
		Store: &status.Store{Free: 900 << 20, Capacity: 1 << 30, Linked: true, Groups: []status.LocalGroup{{
			ID: 1, Epoch: 3, Primary: self, InSync: []ident.Node{self, twin}, Serving: true, Readable: true, Copies: 2,
		}}},
		Citizen: &status.Citizen{Serving: true, Copies: 2},
		Members: []status.Member{
			{ID: self, Name: "a", Kind: "node", Site: "principal", Up: true}, {ID: twin, Name: "b", Kind: "node", Site: "secours", Up: true},
			{ID: third, Name: "witness", Kind: "witness", Site: "témoin", Up: true},
		},
		Groups: []status.Group{{
			ID: 1, Name: "citizen", Primary: self, Preferred: self, InSync: []ident.Node{self, twin}, Epoch: 3, Citizen: true,
			Volumes: []status.Volume{{ID: 1, Name: "data", Size: 256 << 20}},
		}},
		AllVMs: []status.PlacedVM{{ID: 1, Name: "compteur", Group: 1, CPUs: 1, MemoryMB: 512, Run: true, Node: self, Generation: 1}},
		VMs:    []status.VM{{ID: 1, Name: "compteur", State: "running", Since: time.Now()}},
		Events: []status.Event{{No: 1, Time: time.Now(), Kind: "grow", Group: "citizen", Cause: "the twin is up to date"}},
	}
}
