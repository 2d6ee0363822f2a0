package console

import (
	"beffroi.dev/appliance/socket"
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

func TestTheFirstPasswordMakesTheFirstAccountAndOpensNothingAfter(t *testing.T) {
	r := newRig(t)
	if resp := r.signIn("admin", "something-else"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong first password: %s", resp.Status)
	}
	resp := r.signIn("admin", firstSecret)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/" {
		t.Fatalf("the first password: %s", resp.Status)
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || len(c.Value) < 43 {
		t.Errorf("the cookie lacks a protection: %v", c)
	}
	if u := r.c.feed.now().users["admin"]; u.Role != cluster.RoleAdmin || !api.VerifyPassword(u.Hash, firstSecret) {
		t.Errorf("the voted account: %+v", u)
	}
	hash, err := api.HashPassword("un-autre-mot-de-passe")
	if err != nil {
		t.Fatal(err)
	}
	r.apply(&cluster.SetUser{Name: "admin", User: cluster.User{Role: cluster.RoleAdmin, Hash: hash}})
	for end := time.Now().Add(5 * time.Second); r.c.feed.now().users["admin"].Hash != hash && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if resp, _ := r.do("/", nil); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("a session outlives its password: %s", resp.Status)
	}
	if resp := r.signIn("admin", firstSecret); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the first password still opens: %s", resp.Status)
	}
}

func TestWithoutAMajorityTheFirstAccountWaitsAndSaysWhy(t *testing.T) {
	r := newRig(t)
	r.locked(func() { r.mute = true })
	resp, body := r.do("/login", url.Values{"name": {"admin"}, "password": {firstSecret}})
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "deux des trois votes") {
		t.Errorf("%s %s", resp.Status, body)
	}
}

func TestSignInIsLimitedByAddressAndByAccount(t *testing.T) {
	r := newRig(t)
	for i := range addressBurst {
		if resp := r.signIn("admin", "wrong"); resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("attempt %d: %s", i, resp.Status)
		}
	}
	resp := r.signIn("admin", firstSecret)
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one attempt more: %s", resp.Status)
	}
	l, now := newLimit(2, time.Minute), time.Now()
	for i, c := range []struct {
		key   string
		after time.Duration
		taken bool
	}{{"x", 0, true}, {"x", 0, true}, {"x", 0, false}, {"y", 0, true}, {"x", time.Minute, true}, {"x", time.Minute, false}} {
		if got := l.take(c.key, now.Add(c.after)) == 0; got != c.taken {
			t.Errorf("attempt %d of %s: taken %t, want %t", i, c.key, got, c.taken)
		}
	}
}

func TestEveryPageNeedsASession(t *testing.T) {
	r := newRig(t)
	for path, want := range map[string]int{"/": 303, "/stream": 401, "/act/switch/citizen": 303, "/api/v1/status": 401, "/login": 200, "/assets/style.css": 200} {
		resp, _ := r.do(path, nil)
		if resp.StatusCode != want {
			t.Errorf("GET %s: %s, want %d", path, resp.Status, want)
		}
		if p := resp.Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "unsafe") {
			t.Errorf("GET %s: policy %q", path, p)
		}
	}
	r.user("odile", cluster.RoleViewer)
	if resp, _ := r.do("/api/v1/status", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("the API for a session: %s", resp.Status)
	}
	if resp, _ := r.do("/logout", url.Values{}); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("logout: %s", resp.Status)
	}
	if resp, _ := r.do("/", nil); resp.Header.Get("Location") != "/login" {
		t.Errorf("after logout: %s", resp.Status)
	}
}

func TestASessionEndsWhenIdle(t *testing.T) {
	s, now := newSessions(time.Minute), time.Now()
	req, _ := http.NewRequest(http.MethodGet, "/", nil)
	req.AddCookie(sessionCookie(s.open("x", "h", now)))
	if _, ok := s.find(req, now.Add(50*time.Second), false); !ok {
		t.Error("it ended early")
	}
	if _, ok := s.find(req, now.Add(61*time.Second), true); ok {
		t.Error("looking on kept it alive")
	}
}

func TestForeignPagesCannotAct(t *testing.T) {
	r := newRig(t)
	r.user("luc", cluster.RoleOperator)
	req, _ := http.NewRequest(http.MethodPost, r.url+"/act/off/compteur", nil)
	req.Header.Set("Origin", "https://elsewhere.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := r.web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a foreign page: %s", resp.Status)
	}
}

// machine makes a group led by this node with a VM, in the voted state.
func (r *rig) machine(run bool) {
	r.t.Helper()
	g := r.apply(&cluster.CreateGroup{Name: "citizen", Preferred: self, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "data", SizeBytes: 1 << 20}}})
	v := r.apply(&cluster.CreateVM{Name: "compteur", Group: g.Group, CPUs: 1, MemoryMB: 512, Firmware: "bios", Run: run})
	if run {
		r.apply(&cluster.PlaceVM{VM: v.VM, Node: self, Base: r.state.VMs[v.VM].Generation})
	}
}

func (r *rig) vm() (v cluster.VM) {
	r.locked(func() {
		for _, v = range r.state.VMs {
			return
		}
	})
	return v
}

func TestEachControlDoesWhatItSays(t *testing.T) {
	for _, c := range []struct {
		what   string
		before bool
		run    bool
		node   ident.Node
	}{{"start", false, true, 0}, {"shutdown", true, false, self}, {"off", true, false, 0}} {
		t.Run(c.what, func(t *testing.T) {
			r := newRig(t)
			r.machine(c.before)
			r.user("luc", cluster.RoleOperator)
			path := "/act/" + c.what + "/compteur"
			if resp, page := r.do(path, nil); resp.StatusCode != http.StatusOK || !strings.Contains(page, "compteur") || r.vm().Run != c.before {
				t.Errorf("asking for confirmation: %s, runs %t", resp.Status, r.vm().Run)
			}
			resp, body := r.do(path, url.Values{})
			if resp.StatusCode != http.StatusSeeOther {
				t.Fatalf("%s %s", resp.Status, body)
			}
			if v := r.vm(); v.Run != c.run || v.Node != c.node {
				t.Errorf("runs %t on %v, want %t on %v", v.Run, v.Node, c.run, c.node)
			}
			if _, page := r.do(resp.Header.Get("Location"), nil); !strings.Contains(page, `class="notice"`) {
				t.Error("the page does not say that it is done")
			}
		})
	}
}

func TestASwitchAsksTheBlockServiceForTheTwin(t *testing.T) {
	r := newRig(t)
	r.machine(false)
	r.user("luc", cluster.RoleOperator)
	l, err := socket.Bind(r.dir.Socket("block"))
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		asked <- req.URL.Path + " " + string(b)
		w.WriteHeader(http.StatusAccepted)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	defer func() { _ = srv.Close(); <-done }()
	if resp, body := r.do("/act/switch/citizen", url.Values{}); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("%s %s", resp.Status, body)
	}
	to, _ := json.Marshal(twin)
	if got, want := <-asked, fmt.Sprintf(`/v1/switch {"group":1,"to":%s}`, to); got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

func TestARefusalIsSaid(t *testing.T) {
	r := newRig(t)
	r.machine(true)
	r.user("odile", cluster.RoleViewer)
	resp, body := r.do("/act/off/compteur", url.Values{})
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "Votre rôle ne le permet pas") || !r.vm().Run {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, _ := r.do("/act/explode/compteur", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("an operation that is none: %s", resp.Status)
	}
}

func TestTheStreamDeliversAChangeAndEndsWithItsSession(t *testing.T) {
	r := newRig(t)
	r.user("odile", cluster.RoleViewer)
	resp, err := r.web.Get(r.url + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	await := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the stream ended without %q", want)
	}
	await("Tout va bien")
	r.locked(func() { // a copy: the console holds the other one
		r.node.Members = slices.Clone(r.node.Members)
		r.node.Members[2].Up = false
	})
	await("ne répond pas")
	r.locked(func() { r.silent = true })
	await("Données vieilles")
	if resp, _ := r.do("/logout", url.Values{}); resp.StatusCode != http.StatusSeeOther {
		t.Fatal(resp.Status)
	}
	await("event: end")
}

func TestTheLanguageIsSwitchedAndKept(t *testing.T) {
	r := newRig(t)
	if _, body := r.do("/login", nil); !strings.Contains(body, `lang="fr"`) || !strings.Contains(body, "Mot de passe") {
		t.Error("French is not the first language")
	}
	if resp, _ := r.do("/login?lang=en", nil); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("switch: %s", resp.Status)
	}
	if _, body := r.do("/login", nil); !strings.Contains(body, `<html lang="en"`) || !strings.Contains(body, "Password") {
		t.Error("the language is not kept")
	}
}

func TestTheCertificateIsMadeOnce(t *testing.T) {
	r := newRig(t)
	_, one, err := certificate(r.dir, "a", "127.0.0.1:8443")
	if err != nil {
		t.Fatal(err)
	}
	_, two, err := certificate(r.dir, "a", "127.0.0.1:8443")
	if err != nil || one != two {
		t.Errorf("fingerprints %s and %s, %v", one, two, err)
	}
	if st, err := os.Stat(r.dir.Own("console") + "/console.key"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v %v", st.Mode(), err)
	}
}

func TestTheScriptIsSmall(t *testing.T) {
	if b, err := assets.ReadFile("assets/script.js"); err != nil || len(b) > 15<<10 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
