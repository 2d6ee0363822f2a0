package console

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"beffroi.dev/appliance/status"
	"beffroi.dev/appliance/town/towntest"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/qr"
	"beffroi.dev/pkg/quorum/cluster"
)

const word = "un mot de passe assez long"

// counter is a pair whose citizens are served by a node, and that node's agents.
func (r *rig) counter(leads ident.Node) *towntest.Town {
	r.t.Helper()
	g := r.apply(&cluster.CreateGroup{Name: "citizen", Preferred: leads, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "data", SizeBytes: 1 << 20}}})
	r.apply(&cluster.SetService{Group: g.Group})
	r.locked(func() { r.node.Citizen = &status.Citizen{Serving: true, Copies: 2, URL: "http://192.0.2.10"} })
	r.await(func() bool { return r.c.address() != "" })
	return towntest.New(r.t, r.dir.Socket("citizen"))
}

// inputs are the fields of a page's form.
var inputs = regexp.MustCompile(`<input[^>]* name="([a-z]+)"[^>]*>`)

// typed fills a form as the page has it: a field that it lacks is a fault.
func typed(t *testing.T, page string, fields url.Values) url.Values {
	t.Helper()
	has := map[string]bool{}
	for _, m := range inputs.FindAllStringSubmatch(page, -1) {
		has[m[1]] = true
	}
	for name := range fields {
		if !has[name] {
			t.Fatalf("the form has no field %q:\n%s", name, page)
		}
	}
	return fields
}

// secret is what an enrolment page shows.
func secret(t *testing.T, page string) string {
	t.Helper()
	m := regexp.MustCompile(`<code class="secret" id="secret">([A-Z2-7 ]+)</code>`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no secret is shown:\n%s", page)
	}
	return strings.ReplaceAll(m[1], " ", "")
}

// agentAct opens a form by its link on the list and sends it.
func (r *rig) agentAct(path string, fields url.Values) (*http.Response, string) {
	r.t.Helper()
	if _, list := r.do("/agents", nil); !strings.Contains(list, `href="`+path+`"`) {
		r.t.Fatalf("the list has no link to %s:\n%s", path, list)
	}
	_, form := r.do(path, nil)
	if !strings.Contains(form, `<form method="post" action="`+path+`"`) {
		r.t.Fatalf("%s is no form:\n%s", path, form)
	}
	return r.do(path, typed(r.t, form, fields))
}

func TestAnAgentsLifeOnTheConsole(t *testing.T) {
	r := newRig(t)
	w := r.counter(self)
	r.user("anne", cluster.RoleAdmin)
	if _, page := r.do("/", nil); !strings.Contains(page, `href="/agents"`) {
		t.Error("the live page does not lead to the agents")
	}
	if _, page := r.do("/agents", nil); !strings.Contains(page, "Aucun agent pour l") {
		t.Errorf("an empty list:\n%s", page)
	}

	resp, page := r.agentAct("/agents/new", url.Values{"name": {"martin"}, "display": {"Camille Martin"}, "password": {word}, "again": {word}})
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") != "no-store" || !strings.Contains(page, "martin est créé") || !strings.Contains(page, "http://192.0.2.10/agent") {
		t.Errorf("made: %s %v\n%s", resp.Status, resp.Header, page)
	}
	first := secret(t, page)
	if _, err := w.Login("martin", word, first); err != nil {
		t.Errorf("made: %v", err)
	}
	if _, list := r.do("/agents", nil); !strings.Contains(list, "Camille Martin<small>martin") || strings.Contains(list, "jamais") || strings.Contains(list, first) {
		t.Errorf("the list after a login:\n%s", list)
	}

	token, _ := w.Login("martin", word, first)
	_, page = r.agentAct("/agents/martin/renew", url.Values{"secret": {"1"}, "password": {""}, "again": {""}})
	second := secret(t, page)
	if _, err := w.Session(t.Context(), token); err == nil || second == first {
		t.Errorf("renewed: the session %v, the secret %s was %s", err, second, first)
	}
	if _, err := w.Login("martin", word, second); err != nil {
		t.Errorf("renewed: %v", err)
	}

	const another = "encore un mot de passe"
	resp, page = r.agentAct("/agents/martin/renew", url.Values{"password": {another}, "again": {another}})
	if resp.StatusCode != http.StatusSeeOther {
		t.Errorf("a new password alone: %s\n%s", resp.Status, page)
	}
	if _, page = r.do(resp.Header.Get("Location"), nil); !strings.Contains(page, "martin a un nouveau mot de passe") {
		t.Errorf("the list does not say that it is done:\n%s", page)
	}
	if token, _ = w.Login("martin", another, second); token == "" {
		t.Error("the new password does not open")
	}

	resp, page = r.agentAct("/agents/martin/close", url.Values{})
	if resp.StatusCode != http.StatusSeeOther {
		t.Errorf("close: %s\n%s", resp.Status, page)
	}
	if _, page = r.do(resp.Header.Get("Location"), nil); !strings.Contains(page, "martin est fermé.") || !strings.Contains(page, "fermé le") || strings.Contains(page, "/agents/martin/close") {
		t.Errorf("the list after a closing:\n%s", page)
	}
	if _, err := w.Session(t.Context(), token); err == nil {
		t.Error("the session outlives the closing")
	}

	_, page = r.agentAct("/agents/martin/reopen", url.Values{"password": {word}, "again": {word}})
	if _, err := w.Login("martin", word, secret(t, page)); err != nil {
		t.Errorf("reopened: %v", err)
	}
	var audit []string
	r.locked(func() {
		for _, e := range r.state.Events {
			audit = append(audit, e.New)
		}
	})
	for _, s := range []string{first, second, word, another} {
		if strings.Contains(strings.Join(audit, ";"), s) {
			t.Errorf("the history tells a secret: %q", audit)
		}
	}
}

func TestTheCodeToScanIsThatOfTheSecret(t *testing.T) {
	r := newRig(t)
	r.counter(self)
	r.user("anne", cluster.RoleAdmin)
	_, page := r.agentAct("/agents/new", url.Values{"name": {"martin"}, "display": {"x"}, "password": {word}, "again": {word}})
	code, err := qr.Encode("otpauth://totp/Valmont:martin?algorithm=SHA1&digits=6&issuer=Valmont&period=30&secret="+secret(t, page), qr.Low)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page, `class="ink" d="`+code.Path()+`"`) {
		t.Errorf("another code is drawn:\n%s", page)
	}
	if strings.Contains(page, "?lang=") {
		t.Error("a switch of language would lose the secret")
	}
}

func TestAFaultComesBackWithWhatWasTypedButNotThePassword(t *testing.T) {
	r := newRig(t)
	r.counter(self)
	r.user("anne", cluster.RoleAdmin)
	good := func(change url.Values) url.Values {
		v := url.Values{"name": {"martin"}, "display": {"Camille Martin"}, "password": {word}, "again": {word}}
		for k, x := range change {
			v[k] = x
		}
		return v
	}
	r.agentAct("/agents/new", good(url.Values{"name": {"taken"}}))
	r.agentAct("/agents/new", good(url.Values{"name": {"gone"}}))
	r.agentAct("/agents/gone/close", url.Values{})
	for _, c := range []struct {
		path   string
		form   url.Values
		status int
		field  string
		says   string
		keeps  []string
	}{
		{"/agents/new", good(url.Values{"name": {"Martin !"}}), 400, "name", "lettres minuscules", []string{`value="Martin !"`, `value="Camille Martin"`}},
		{"/agents/new", good(url.Values{"display": {"  "}}), 400, "display", "80 caractères", []string{`value="martin"`}},
		{"/agents/new", good(url.Values{"password": {"court"}, "again": {"court"}}), 400, "password", "de 12 à 256", []string{`value="martin"`, `value="Camille Martin"`}},
		{"/agents/new", good(url.Values{"again": {"autre chose"}}), 400, "again", "diffèrent", []string{`value="martin"`, `value="Camille Martin"`}},
		{"/agents/new", good(url.Values{"name": {"taken"}}), 409, "name", "Choisissez-en un autre", []string{`value="taken"`}},
		{"/agents/taken/renew", url.Values{"password": {""}, "again": {""}}, 400, "", "Cochez la nouvelle clé", nil},
		{"/agents/taken/renew", url.Values{"secret": {"1"}, "password": {"court"}, "again": {"court"}}, 400, "password", "de 12 à 256", []string{`value="1" aria-describedby="secret-hint" checked`}},
		{"/agents/gone/renew", url.Values{"secret": {"1"}}, 409, "", "rouvrez-le", nil},
		{"/agents/taken/reopen", url.Values{"password": {word}, "again": {word}}, 409, "", "pas fermé", nil},
		{"/agents/nobody/close", url.Values{}, 404, "", "existe plus", nil},
	} {
		resp, page := r.do(c.path, c.form)
		plain := strings.NewReplacer("\u00a0", " ", "\u202f", " ", "&#39;", "'").Replace(page)
		if resp.StatusCode != c.status || !strings.Contains(plain, `role="alert"`) || !strings.Contains(plain, c.says) {
			t.Errorf("%s %v: %s; want %d that says %q\n%s", c.path, c.form, resp.Status, c.status, c.says, plain)
		}
		if c.field != "" && !regexp.MustCompile(`id="`+c.field+`"[^>]* aria-invalid="true"`).MatchString(page) || c.field == "" && strings.Contains(page, "aria-invalid") {
			t.Errorf("%s %v: the field at fault is not %q\n%s", c.path, c.form, c.field, page)
		}
		for _, k := range c.keeps {
			if !strings.Contains(page, k) {
				t.Errorf("%s: %s is lost\n%s", c.path, k, page)
			}
		}
		if p := c.form.Get("password"); p != "" && strings.Contains(page, p) {
			t.Errorf("%s: the page tells the password\n%s", c.path, page)
		}
	}
}

func TestWhoSeesWhatOfTheAgents(t *testing.T) {
	for _, c := range []struct {
		role               cluster.Role
		link, list, change bool
	}{{cluster.RoleAdmin, true, true, true}, {cluster.RoleOperator, true, true, false}, {cluster.RoleViewer, false, false, false}} {
		t.Run(string(c.role), func(t *testing.T) {
			r := newRig(t)
			w := r.counter(self)
			r.user("anne", cluster.RoleAdmin)
			r.agentAct("/agents/new", url.Values{"name": {"martin"}, "display": {"Camille Martin"}, "password": {word}, "again": {word}})
			r.user("someone", c.role)
			if _, page := r.do("/", nil); strings.Contains(page, `href="/agents"`) != c.link {
				t.Errorf("the live page leads there: want %v", c.link)
			}
			resp, page := r.do("/agents", nil)
			if strings.Contains(page, "Camille Martin") != c.list || (resp.StatusCode == http.StatusForbidden) == c.list || strings.Contains(page, "/agents/martin/renew") != c.change || strings.Contains(page, "/agents/new") != c.change {
				t.Errorf("the list: %s\n%s", resp.Status, page)
			}
			if c.change {
				return
			}
			for _, path := range []string{"/agents/new", "/agents/martin/renew", "/agents/martin/close", "/agents/martin/reopen"} {
				if resp, _ := r.do(path, nil); resp.StatusCode != http.StatusForbidden {
					t.Errorf("GET %s: %s", path, resp.Status)
				}
				form := url.Values{"name": {"x"}, "display": {"x"}, "secret": {"1"}, "password": {word}, "again": {word}}
				if resp, page := r.do(path, form); resp.StatusCode != http.StatusForbidden || !strings.Contains(page, "Votre rôle") {
					t.Errorf("POST %s: %s\n%s", path, resp.Status, page)
				}
			}
			if all, err := w.List(t.Context()); err != nil || len(all) != 1 || !all[0].Closed.IsZero() {
				t.Errorf("something was done: %+v, %v", all, err)
			}
		})
	}
}

func TestTheAgentsPagesSayWhereToGoAndWhatIsWrong(t *testing.T) {
	r := newRig(t)
	r.user("anne", cluster.RoleAdmin)
	says := func(status int, fr, en string) {
		t.Helper()
		for lang, want := range map[string]string{"fr": fr, "en": en} {
			if resp, _ := r.do("/agents?lang="+lang, nil); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/agents" {
				t.Fatalf("switch: %s", resp.Status)
			}
			resp, page := r.do("/agents", nil)
			page = strings.ReplaceAll(page, "&#39;", "'")
			if resp.StatusCode != status || !strings.Contains(page, want) || strings.Contains(page, "/agents/new") {
				t.Errorf("%s: %s; want %q\n%s", lang, resp.Status, want, page)
			}
		}
	}
	says(200, "Aucun groupe de volumes ne porte", "No volume group holds")
	w := r.counter(self)
	w.Serve(false)
	says(200, "Le service aux citoyens ne répond pas", "The citizen service does not answer")
	r2 := newRig(t)
	r2.counter(twin)
	r2.user("anne", cluster.RoleAdmin)
	r = r2
	says(200, "ouvrez la console de b", "open the console of b")
	if resp, page := r.do("/agents/new", url.Values{"name": {"martin"}, "display": {"x"}, "password": {word}, "again": {word}}); resp.StatusCode != http.StatusConflict || !strings.Contains(page, "the console of b") && !strings.Contains(page, "la console de b") {
		t.Errorf("a change asked of the wrong node: %s\n%s", resp.Status, page)
	}
}

func TestAgentsNeedASessionAndAPageOfThisConsole(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/agents", "/agents/new", "/agents/martin/close"} {
		resp, _ := r.do(path, nil)
		if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/login" {
			t.Errorf("GET %s: %s", path, resp.Status)
		}
		if p := resp.Header.Get("Content-Security-Policy"); p != policy || strings.Contains(p, "unsafe") {
			t.Errorf("GET %s: policy %q", path, p)
		}
	}
	w := r.counter(self)
	r.user("anne", cluster.RoleAdmin)
	req, _ := http.NewRequest(http.MethodPost, r.url+"/agents/new", strings.NewReader("name=x&display=x&password="+word+"&again="+word))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "https://elsewhere.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := r.web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a foreign page: %s", resp.Status)
	}
	if all, err := w.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("a foreign page made %+v, %v", all, err)
	}
	for _, path := range []string{"/agents/martin/explode", "/agents/No%20Name/close", "/agents/martin/new"} {
		if resp, _ := r.do(path, nil); resp.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %s", path, resp.Status)
		}
	}
}
