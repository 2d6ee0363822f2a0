package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/agents"
	"beffroi.dev/appliance/api"
	"beffroi.dev/pkg/qr"
)

const secret, uri = "GEZDGNBVGY3TQOJQ", "otpauth://totp/Valmont:martin?issuer=Valmont&secret=GEZDGNBVGY3TQOJQ"

func TestAnAgentsSecretIsShownOnceWithWhatToDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("a password of a file\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		in    string
		args  []string
		asked string
		said  []string
		not   string
	}{
		{"a long password\n", []string{"agent", "create", "martin", "--display", "Camille Martin"}, `POST agents {"name":"martin","display":"Camille Martin","password":"a long password"}`,
			[]string{"Agent martin is made.", secret, "shown this once", "agent renew --secret"}, "\x1b"},
		{"", []string{"agent", "create", "martin", "--display", "x", "--password-file", file, "--lang", "fr"}, `POST agents {"name":"martin","display":"x","password":"a password of a file"}`,
			[]string{"L'agent martin est créé.", secret, "montrée que cette fois"}, "\x1b"},
		{"", []string{"agent", "renew", "martin", "--secret"}, `POST agents/martin/renew {"secret":true}`, []string{"renewed; the sessions have ended", secret}, "\x1b"},
		{"a long password\n", []string{"agent", "renew", "martin", "--password", "--secret"}, `POST agents/martin/renew {"password":"a long password","secret":true}`, []string{"renewed", secret}, "\x1b"},
		{"", []string{"agent", "renew", "martin", "--password-file", file}, `POST agents/martin/renew {"password":"a password of a file"}`, []string{"renewed"}, secret},
		{"a long password\n", []string{"agent", "reopen", "martin"}, `POST agents/martin/reopen {"password":"a long password"}`, []string{"may log in again", secret}, "\x1b"},
		{"", []string{"agent", "renew", "martin", "--secret", "--json"}, `POST agents/martin/renew {"secret":true}`, []string{`"secret": "` + secret + `"`, `"uri": "otpauth:`}, "renewed"},
	} {
		w := newTown(t)
		e := agents.Enrolment{Secret: secret, URI: uri}
		if tt.not == secret {
			e = agents.Enrolment{} // a new password alone
		}
		for _, path := range []string{"agents", "agents/martin/renew", "agents/martin/reopen"} {
			w.reply["POST "+path] = e
		}
		code, out, errs := w.do(tt.in, nil, tt.args...)
		if got := strings.Join(w.asked, "; "); code != exitOK || got != tt.asked || strings.Contains(out, tt.not) {
			t.Errorf("%q: exit %d, asked %s, said %q %s", tt.args, code, got, out, errs)
		}
		for _, want := range tt.said {
			if !strings.Contains(out, want) {
				t.Errorf("%q said %q; want %q", tt.args, out, want)
			}
		}
	}
}

func TestATerminalShowsTheSecretAsACodeToScan(t *testing.T) {
	w := newTown(t)
	w.reply["POST agents/martin/renew"] = agents.Enrolment{Secret: secret, URI: uri}
	screen, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	var errs bytes.Buffer
	p := &program{in: strings.NewReader(""), out: screen, err: &errs, env: func(string) string { return "fr_FR.UTF-8" }, now: time.Now, zone: time.UTC, terminal: func(f *os.File) bool { return f == screen }}
	if code := p.run(context.Background(), []string{"--socket", w.socket, "agent", "renew", "martin", "--secret"}); code != exitOK {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	b, err := os.ReadFile(screen.Name())
	if err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode(uri, qr.Low)
	if err != nil {
		t.Fatal(err)
	}
	if out := string(b); !strings.Contains(out, code.Terminal()) || !strings.Contains(out, secret) || !strings.Contains(out, "téléphone de l'agent") {
		t.Errorf("the screen shows\n%s", out)
	}
}

func TestRefusalsAboutAgentsSayWhatToDoInFrenchToo(t *testing.T) {
	french := map[string]string{"LANG": "fr_FR.UTF-8"}
	for _, tt := range []struct {
		env   map[string]string
		args  string
		reply api.Error
		says  string
	}{
		{french, "agent create martin --display x", api.Error{Code: api.BadInput, Field: "password"}, "de 12 à 256 caractères"},
		{french, "agent create martin --display x", api.Error{Code: api.BadInput, Field: "name"}, "lettres minuscules"},
		{french, "agent create martin --display x", api.Error{Code: api.Refused, Field: "name"}, "autre nom"},
		{french, "agent create martin --display x", api.Error{Code: api.Refused}, "beffroictl service"},
		{french, "agent create martin --display x", api.Error{Code: api.Elsewhere, Node: "b"}, "adressez-vous au nœud b"},
		{french, "agent renew martin --secret", api.Error{Code: api.Refused, Field: "name"}, "agent reopen"},
		{french, "agent reopen martin", api.Error{Code: api.Refused, Field: "name"}, "agent renew"},
		{french, "agents", api.Error{Code: api.Refused}, "beffroictl service"},
		{nil, "agent create martin --display x", api.Error{Code: api.Refused, Field: "name", Hint: "choose another"}, "→ choose another"},
		{nil, "agents", api.Error{Code: api.Elsewhere, Node: "b"}, "ask node b"},
	} {
		w := newTown(t)
		tt.reply.Message = "not done"
		for _, path := range []string{"GET agents", "POST agents", "POST agents/martin/renew", "POST agents/martin/reopen"} {
			w.reply[path] = &tt.reply
		}
		if code, out, errs := w.do("a long password\n", tt.env, strings.Fields(tt.args)...); code != exitRefused || out != "" || !strings.Contains(errs, "not done") || !strings.Contains(errs, tt.says) {
			t.Errorf("%s, %s: exit %d, %q %q; want %q", tt.args, tt.reply.Code, code, out, errs, tt.says)
		}
	}
}
