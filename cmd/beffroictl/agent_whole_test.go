package main

import (
	"bytes"
	"encoding/json"
	"html"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"beffroi.dev/appliance/agents"
)

const agentWord = "un mot de passe assez long"

// desk is the browser of an agent, or of a citizen, at the service address.
type desk struct {
	t    *testing.T
	base string
	http *http.Client
}

func (p *pair) desk() *desk {
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return &desk{t: p.t, base: "http://" + p.service, http: &http.Client{Jar: jar, Timeout: 30 * time.Second}}
}

// page is what a request ends at: its path, and what it says.
func (d *desk) page(res *http.Response, err error) (path, body string) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return res.Request.URL.Path, html.UnescapeString(string(b))
}

func (d *desk) get(path string) (string, string) {
	d.t.Helper()
	return d.page(d.http.Get(d.base + path))
}

func (d *desk) post(path string, form url.Values) (string, string) {
	d.t.Helper()
	return d.page(d.http.PostForm(d.base+path, form))
}

// login logs in with the code of this moment.
func (d *desk) login(name, password, secret string) (path, body string) {
	d.t.Helper()
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		d.t.Fatal(err)
	}
	return d.post("/agent/connexion", url.Values{"nom": {name}, "mot-de-passe": {password}, "code": {code}, "suite": {"/agent"}})
}

// file files a report as a citizen does.
func (d *desk) file(words string) {
	d.t.Helper()
	const form = "/demarches/signalement-voirie/formulaire"
	_, body := d.get(form)
	action := regexp.MustCompile(`action="(` + form + `\?jeton=[^"]+)"`).FindStringSubmatch(body)
	if action == nil {
		d.t.Fatalf("no form:\n%s", body)
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for k, v := range map[string]string{"categorie": "eclairage", "lieu": "12 rue de la Poste", "description": words} {
		if err := w.WriteField(k, v); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		d.t.Fatal(err)
	}
	if path, body := d.page(d.http.Post(d.base+action[1], w.FormDataContentType(), &b)); !strings.HasSuffix(path, "/recu") {
		d.t.Fatalf("the report leads to %s:\n%s", path, body)
	}
}

// act does something with the first report by the form that its page has for it.
func (d *desk) act(kind string, form url.Values) {
	d.t.Helper()
	_, body := d.get("/agent/dossiers/1")
	action := regexp.MustCompile(`action="(/agent/dossiers/1\?jeton=[^"]+)"[^>]*>\s*<input type="hidden" name="acte" value="` + kind + `"`).FindStringSubmatch(body)
	if action == nil {
		d.t.Fatalf("no form to have it %s:\n%s", kind, body)
	}
	form.Set("acte", kind)
	if _, body := d.post(action[1], form); !strings.Contains(body, form.Get("texte")) || !strings.Contains(body, "martin") {
		d.t.Errorf("the report is not %s by martin:\n%s", kind, body)
	}
}

// enrolled runs a command that makes a secret.
func (p *pair) enrolled(node, in string, args ...string) (e agents.Enrolment) {
	p.t.Helper()
	code, out, errs := p.run(node, in, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &e); code != exitOK || err != nil || e.Secret == "" || !strings.Contains(e.URI, e.Secret) {
		p.t.Fatalf("%q on %s: exit %d, %s %s", args, node, code, out, errs)
	}
	return e
}

func TestAnAgentsDay(t *testing.T) {
	p := newPair(t)
	p.await("two nodes in touch", func() bool {
		_, a, _ := p.ctl("a", "status")
		return strings.Contains(a, "vouches for this node: yes") && strings.Contains(a, "linked with the twin: yes")
	})
	if code, _, errs := p.ctl("a", "agents"); code != exitRefused || !strings.Contains(errs, "no group") {
		t.Errorf("before there is a citizen service: exit %d, %s", code, errs)
	}
	p.must("a", "group create citizen --volume data=16M --prefer a")
	p.must("a", "service citizen")
	serving := func(node string) func() bool {
		return func() bool {
			_, out, _ := p.ctl(node, "status")
			return strings.Contains(out, "Citizens: serving")
		}
	}
	p.await("served by a", serving("a"))

	e := p.enrolled("a", agentWord+"\n", "agent", "create", "martin", "--display", "Camille Martin")
	for _, ask := range []string{"agents", "agent close martin --yes", "agent renew martin --secret"} {
		if code, out, errs := p.ctl("b", ask); code != exitRefused || out != "" || !strings.Contains(errs, "ask node a") {
			t.Errorf("%s, asked of the node that does not serve: exit %d, %s %s", ask, code, out, errs)
		}
	}
	p.desk().file("Le lampadaire est éteint")
	d := p.desk()
	if path, body := d.login("martin", agentWord, e.Secret); path != "/agent" || !strings.Contains(body, "Le lampadaire est éteint") {
		t.Fatalf("the login leads to %s:\n%s", path, body)
	}
	d.act("answered", url.Values{"texte": {"Une équipe passe demain."}})
	d.act("closed", url.Values{"texte": {"C'est réparé."}, "motif": {"done"}})
	if out := p.must("a", "agents"); !regexp.MustCompile(`martin +Camille Martin +\S+ +\d\d:\d\d:\d\d +open`).MatchString(out) {
		t.Errorf("the list after a login:\n%s", out)
	}

	if out := p.must("a", "agent close martin --yes"); out != "Agent martin is closed.\n" {
		t.Error(out)
	}
	if path, _ := d.get("/agent"); path != "/agent/connexion" {
		t.Errorf("the session of a closed agent leads to %s", path)
	}
	_, unknown := p.desk().login("nobody", agentWord, e.Secret)
	if path, body := p.desk().login("martin", agentWord, e.Secret); path != "/agent/connexion" || body != strings.ReplaceAll(unknown, `value="nobody"`, `value="martin"`) {
		t.Errorf("a closed agent is answered otherwise than nobody: %s\n%s", path, body)
	}
	if code, _, errs := p.run("a", agentWord, "agent", "create", "martin", "--display", "Another"); code != exitRefused || !strings.Contains(errs, "a name is given once") {
		t.Errorf("the name again: exit %d, %s", code, errs)
	}

	p.await("in sync", func() bool { return strings.Contains(p.must("a", "groups"), "two copies") })
	p.kill("a")
	p.await("served by b", serving("b"))
	if out := p.must("b", "agents"); !strings.Contains(out, "closed since") {
		t.Errorf("the list after the death of a:\n%s", out)
	}
	e = p.enrolled("b", agentWord+" 2\n", "agent", "reopen", "martin")
	if path, body := p.desk().login("martin", agentWord+" 2", e.Secret); path != "/agent" || !strings.Contains(body, "Le lampadaire est éteint") {
		t.Errorf("reopened, the login leads to %s:\n%s", path, body)
	}
	var events string // the audit is written after the answer
	p.await("audited", func() bool {
		events = p.must("b", "events")
		return strings.Contains(events, "reopen agent martin: new password, new secret")
	})
	for _, want := range []string{"create agent martin", "close agent martin"} {
		if !strings.Contains(events, want) {
			t.Errorf("the history lacks %q:\n%s", want, events)
		}
	}
	if strings.Contains(events, e.Secret) || strings.Contains(events, agentWord) {
		t.Errorf("the history tells a secret:\n%s", events)
	}
}
