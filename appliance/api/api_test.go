package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/guests"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/quorum/cluster"
)

var _ api.Control = (*control.Client)(nil)

func (r *rig) user(name string, role cluster.Role) {
	r.apply(&cluster.SetUser{Name: name, User: cluster.User{Role: role, Hash: "$argon2id$"}})
}

func TestWhoMayDoWhat(t *testing.T) {
	r := newRig(t)
	r.user("anne", cluster.RoleAdmin)
	r.user("oscar", cluster.RoleOperator)
	r.user("victor", cluster.RoleViewer)
	for _, tt := range []struct {
		user, method, path string
		want               int
	}{
		{"", "GET", "status", 401}, {"nobody", "GET", "status", 401}, {"victor", "GET", "status", 200}, {"token", "GET", "users", 200},
		{"victor", "GET", "vms", 200}, {"victor", "POST", "vms/x/start", 403}, {"oscar", "POST", "vms/x/start", 404},
		{"victor", "GET", "vms/x/serial", 403}, {"oscar", "GET", "users", 403}, {"oscar", "DELETE", "vms/x", 403}, {"anne", "DELETE", "vms/x", 404},
		{"oscar", "DELETE", "groups/x", 403}, {"oscar", "PUT", "service", 403}, {"oscar", "POST", "groups/x/switch", 400},
		{"anne", "GET", "nothing", 404}, {"anne", "PATCH", "vms", 404},
	} {
		if a := r.as(tt.user, tt.method, tt.path, nil); a.code != tt.want {
			t.Errorf("%s %s by %q = %d %s; want %d", tt.method, tt.path, tt.user, a.code, a.Message, tt.want)
		}
	}
	for _, header := range []string{"Bearer ", "Bearer " + token[1:], "Basic " + token} {
		req, _ := http.NewRequest("GET", r.url+"/api/v1/status", nil)
		req.Header.Set("Authorization", header)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != 401 {
			t.Errorf("%q: %d; want 401", header, resp.StatusCode)
		}
	}
	req, _ := http.NewRequest("DELETE", r.url+"/api/v1/vms/x", nil)
	req.Header.Set("Test-User", "anne")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != 403 {
		t.Errorf("a change by a session without the header: %d; want 403", resp.StatusCode)
	}
}

func TestBadInputIsToldWhatIsAllowed(t *testing.T) {
	r := newRig(t)
	r.apply(&cluster.CreateGroup{Name: "g", Preferred: self, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}})
	for _, tt := range []struct {
		method, path, body string
		want               api.Code
		says               string
	}{
		{"POST", "groups", `{"name": "G"}`, api.Refused, "lower-case letters"},
		{"POST", "groups", `{"name": "x", "volumes": [{"name": "v", "size_bytes": 5}]}`, api.Refused, "1 MiB to 64 TiB"},
		{"POST", "groups", `{"name": "x", "prefer": "witness"}`, api.BadInput, "use a or b"},
		{"POST", "groups", `{"nom": "x"}`, api.BadInput, "unknown field"},
		{"POST", "groups", `{"name": "x"} {}`, api.BadInput, "something follows"},
		{"POST", "groups", strings.Repeat(" ", 70<<10), api.TooLarge, "longer than"},
		{"DELETE", "groups/x", ``, api.NotFound, "does not exist"},
		{"POST", "vms", `{"name": "x"}`, api.NotFound, "group"},
		{"POST", "vms", `{"name": "x", "group": "g", "cpus": 99}`, api.BadInput, "1 to 64"},
		{"POST", "vms", `{"name": "x", "group": "g", "memory_mb": 1}`, api.BadInput, "64 to"},
		{"POST", "vms", `{"name": "x", "group": "g", "firmware": "lilo"}`, api.BadInput, "bios or uefi"},
		{"POST", "vms", `{"name": "x", "group": "g", "nics": 5}`, api.BadInput, "0 to 4"},
		{"POST", "vms", `{"name": "x", "group": "g", "nics": -1}`, api.BadInput, "0 to 4"},
		{"PUT", "users/eve", `{"role": "mayor", "password": "long enough a word"}`, api.BadInput, "admin, operator or viewer"},
		{"PUT", "users/eve", `{"role": "admin", "password": "short"}`, api.BadInput, "12 characters"},
		{"PUT", "users/eve", `{"role": "admin"}`, api.BadInput, "give a password"},
		{"PUT", "users/Eve", `{"role": "admin", "password": "long enough a word"}`, api.BadInput, "lower-case"},
		{"GET", "events?after=x", ``, api.BadInput, "number"},
		{"GET", "jobs/x", ``, api.BadInput, "number"},
		{"GET", "jobs/1", ``, api.NotFound, "does not exist"},
		{"POST", "images?name=x&colour=red", ``, api.BadInput, "use name, cpus"},
		{"POST", "images?name=g", ``, api.Refused, "exists already"},
		{"POST", "images?name=x&cpus=0", ``, api.BadInput, "from 1"},
	} {
		a := r.admin(tt.method, tt.path, tt.body)
		if a.Code != tt.want || !strings.Contains(a.Message, tt.says) {
			t.Errorf("%s %s %.60s = %d %s %q; want %s that says %q", tt.method, tt.path, tt.body, a.code, a.Code, a.Message, tt.want, tt.says)
		}
	}
	r.locked(func() { r.silent = true })
	if a := r.admin("GET", "groups", nil); a.Code != api.Unavailable || a.Hint == "" {
		t.Errorf("without the node service: %+v", a.Error)
	}
}

func TestGroupsAreCreatedOnceAndAudited(t *testing.T) {
	r := newRig(t)
	in := api.NewGroup{Name: "etat-civil", Prefer: "b", Volumes: []cluster.NewVolume{{Name: "data", SizeBytes: 1 << 30}}}
	if a := r.admin("POST", "groups", in); a.code != http.StatusCreated {
		t.Fatalf("create: %d %s", a.code, a.body)
	}
	if a := r.admin("POST", "groups", in); a.code != http.StatusOK {
		t.Errorf("the same again: %d %s; want 200", a.code, a.body)
	}
	in.Volumes[0].SizeBytes *= 2
	if a := r.admin("POST", "groups", in); a.Code != api.Refused {
		t.Errorf("another of that name: %d %s; want a refusal", a.code, a.body)
	}
	groups := get[[]api.Group](r, "groups")
	if len(groups) != 1 || groups[0].Primary != "b" || strings.Join(groups[0].InSync, ",") != "a,b" || groups[0].Durability != cluster.Strict {
		t.Errorf("groups: %+v", groups)
	}
	if v := get[[]api.Volume](r, "volumes"); len(v) != 1 || v[0].Group != "etat-civil" || v[0].SizeBytes != 1<<30 {
		t.Errorf("volumes: %+v", v)
	}
	for i, want := range []string{`{"changed":true}`, `{"changed":false}`} {
		if a := r.admin("POST", "groups/etat-civil/prefer", api.Target{Node: "a"}); strings.TrimSpace(string(a.body)) != want {
			t.Errorf("prefer, time %d: %s; want %s", i+1, a.body, want)
		}
	}
	if a := r.admin("PUT", "service", api.ServiceGroup{Group: "etat-civil"}); a.code != 200 {
		t.Errorf("service: %s", a.body)
	}
	if a := r.admin("DELETE", "groups/etat-civil", nil); a.Code != api.Refused || !strings.Contains(a.Message, "citizen service") {
		t.Errorf("delete the service's group: %s", a.body)
	}
	r.admin("PUT", "service", api.ServiceGroup{})
	if a := r.admin("DELETE", "groups/etat-civil", nil); a.code != 200 {
		t.Errorf("delete: %s", a.body)
	}
	r.await("audited", func() bool {
		n := 0
		for _, e := range get[[]status.Event](r, "events") {
			if e.Kind == "audit" && strings.HasPrefix(e.Cause, "token (127.0.0.1:") {
				n++
			}
		}
		return n == 5
	})
}

func TestASwitchIsAskedOfWhoLeads(t *testing.T) {
	r := newRig(t)
	for name, at := range map[string]api.NewGroup{"here": {Prefer: "a"}, "there": {Prefer: "b"}, "alone": {Prefer: "a"}} {
		at.Name, at.Volumes = name, []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}
		r.admin("POST", "groups", at)
	}
	r.locked(func() {
		for id, g := range r.state.Groups {
			if g.Name == "alone" {
				g.Config.InSync = g.Config.InSync[:1]
				r.state.Groups[id] = g
			}
		}
	})
	to := api.Target{Node: "b"}
	if a := r.admin("POST", "groups/here/switch", to); a.Code != api.Unavailable {
		t.Errorf("without a block service: %s", a.body)
	}
	var asked string
	refuse := false
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		asked = req.Method + " " + req.URL.Path + " " + string(b)
		if refuse {
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(control.Error{Message: "the twin lags", Refused: true})
		}
	})}
	l := r.listen("block")
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	if a := r.admin("POST", "groups/here/switch", to); a.code != 200 || !strings.HasPrefix(asked, `POST /v1/switch {"group":`) || !strings.HasSuffix(asked, `"to":"0000000000000002"}`) {
		t.Errorf("switch: %s; the block service was asked %q", a.body, asked)
	}
	refuse = true
	if a := r.admin("POST", "groups/here/switch", to); a.Code != api.Refused || !strings.Contains(a.Message, "the twin lags") {
		t.Errorf("a refused switch: %s", a.body)
	}
	if a := r.admin("POST", "groups/there/switch", to); string(a.body) != "{\"changed\":false}\n" {
		t.Errorf("to where it is: %s", a.body)
	}
	if a := r.admin("POST", "groups/there/switch", api.Target{Node: "a"}); a.Code != api.Elsewhere || a.Node != "b" {
		t.Errorf("from elsewhere: %s", a.body)
	}
	if a := r.admin("POST", "groups/alone/switch", to); a.Code != api.Refused || !strings.Contains(a.Message, "not in sync") {
		t.Errorf("to one that lags: %s", a.body)
	}
}

func TestALifeOfAVM(t *testing.T) {
	r := newRig(t)
	r.admin("POST", "groups", api.NewGroup{Name: "web", Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}})
	for _, want := range []int{201, 200} {
		if a := r.admin("POST", "vms", api.NewVM{Name: "web"}); a.code != want {
			t.Fatalf("create: %d %s; want %d", a.code, a.body, want)
		}
	}
	steps := []struct{ method, path, want string }{
		{"POST", "vms/web/shutdown", `{"changed":false}`}, {"POST", "vms/web/start", `{"changed":true}`}, {"POST", "vms/web/start", `{"changed":false}`},
	}
	for _, s := range steps {
		if a := r.admin(s.method, s.path, nil); strings.TrimSpace(string(a.body)) != s.want {
			t.Errorf("%s: %s; want %s", s.path, a.body, s.want)
		}
	}
	r.apply(&cluster.PlaceVM{VM: 1, Node: self})
	r.locked(func() {
		r.vms = []status.VM{{ID: 1, Name: "web", State: "running", PID: 7, Accel: "tcg", Since: time.Unix(9, 0)}}
	})
	if v := get[[]api.VM](r, "vms")[0]; v.State != "running" || len(v.NICs) != 1 || v.Network != "" || v.Node != "a" || !v.Run || v.Generation != 1 || v.MemoryMB != 1024 {
		t.Errorf("VM: %+v", v)
	}
	if a := r.admin("POST", "vms/web/off", nil); a.code != 200 {
		t.Errorf("off: %s", a.body)
	}
	if v := get[[]api.VM](r, "vms")[0]; v.Run || v.Node != "" || v.Generation != 2 {
		t.Errorf("after off: %+v; want it placed nowhere, under a new generation", v)
	}
	r.admin("POST", "vms/web/start", nil)
	r.apply(&cluster.PlaceVM{VM: 1, Base: 2, Node: self})
	time.AfterFunc(300*time.Millisecond, func() { r.locked(func() { r.vms = nil }) })
	at := time.Now()
	if a := r.admin("DELETE", "vms/web", nil); a.code != 200 {
		t.Errorf("delete: %s", a.body)
	}
	if took := time.Since(at); took < 200*time.Millisecond {
		t.Errorf("deleted after %v, before it had stopped", took)
	}
	if len(get[[]api.VM](r, "vms")) != 0 || len(get[[]api.Group](r, "groups")) != 0 {
		t.Error("something is left of it")
	}
}

func TestUsersHaveHashedPasswords(t *testing.T) {
	r := newRig(t)
	if a := r.admin("PUT", "users/anne", api.NewUser{Role: cluster.RoleAdmin, Password: "correct horse battery"}); a.code != 200 {
		t.Fatalf("set: %s", a.body)
	}
	r.mu.Lock()
	hash := r.state.Users["anne"].Hash
	r.mu.Unlock()
	if !api.VerifyPassword(hash, "correct horse battery") || api.VerifyPassword(hash, "correct horse batterz") {
		t.Errorf("hash %s does not tell right from wrong", hash)
	}
	for _, bad := range []string{"", "$argon2id$", strings.Replace(hash, "m=65536", "m=99999999", 1), strings.Replace(hash, "t=3", "t=0", 1), strings.Replace(hash, "argon2id", "argon2i", 1), hash[:len(hash)-40]} {
		if api.VerifyPassword(bad, "correct horse battery") {
			t.Errorf("hash %q is accepted", bad)
		}
	}
	if a := r.admin("PUT", "users/anne", api.NewUser{Role: cluster.RoleAdmin}); string(a.body) != "{\"changed\":false}\n" {
		t.Errorf("the same: %s", a.body)
	}
	if a := r.admin("PUT", "users/anne", api.NewUser{Role: cluster.RoleViewer}); a.Code != api.Refused {
		t.Errorf("the last administrator: %s", a.body)
	}
	if a := r.admin("GET", "users", nil); strings.Contains(string(a.body), "argon2") {
		t.Errorf("the listing shows secrets: %s", a.body)
	}
	if a := r.admin("DELETE", "users/anne", nil); a.Code != api.Refused {
		t.Errorf("delete the last administrator: %s", a.body)
	}
	if a := r.admin("DELETE", "users/bob", nil); a.Code != api.NotFound {
		t.Errorf("delete nobody: %s", a.body)
	}
}

// echo is a vm service whose serial lines echo.
func (r *rig) echo() {
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path == "/v1/serial/web":
			_, _ = io.WriteString(w, "login: bytes="+req.URL.Query().Get("bytes"))
		case req.URL.Path == "/v1/attach/web":
			nc, buffered, err := http.NewResponseController(w).Hijack()
			if err != nil {
				r.t.Error(err)
				return
			}
			defer nc.Close()
			_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+guests.Protocol+"\r\n\r\nhello\n")
			_, _ = io.Copy(nc, buffered)
		default:
			http.Error(w, "this VM is not on this node", http.StatusNotFound)
		}
	})}
	l := r.listen("vm")
	go func() { _ = srv.Serve(l) }()
	r.t.Cleanup(func() { _ = srv.Close() })
}

func TestTheLocalSocketServesItsOwnUserAndSerialLines(t *testing.T) {
	r := newRig(t)
	r.echo()
	for _, name := range []string{"web", "far"} {
		r.admin("POST", "groups", api.NewGroup{Name: name, Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}})
		r.admin("POST", "vms", api.NewVM{Name: name, Run: true})
	}
	r.apply(&cluster.PlaceVM{VM: 1, Node: self})
	r.apply(&cluster.PlaceVM{VM: 2, Node: twin})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	l := r.listen("console")
	go func() { ended <- r.api.ServeLocal(ctx, l) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", r.dir.Socket("console"))
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := client.Get("http://node/api/v1/vms/web/serial?bytes=77")
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(b) != "login: bytes=77" {
		t.Errorf("serial: %d %s", resp.StatusCode, b)
	}
	if a := r.admin("GET", "vms/far/serial", nil); a.Code != api.Elsewhere || a.Node != "b" {
		t.Errorf("a VM on the twin: %s", a.body)
	}

	nc, err := dial(ctx, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(nc, "GET /api/v1/vms/web/attach HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: "+guests.Protocol+"\r\n\r\nearly\n")
	in := bufio.NewReader(nc)
	resp, err = http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("attach: %v %v", resp, err)
	}
	_, _ = io.WriteString(nc, "root\n")
	for _, want := range []string{"hello\n", "early\n", "root\n"} {
		if got, err := in.ReadString('\n'); got != want {
			t.Errorf("the line says %q (%v); want %q", got, err, want)
		}
	}
}
