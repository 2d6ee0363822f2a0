package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"beffroi.dev/appliance/agents"
	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/status"
	"beffroi.dev/appliance/town/towntest"
	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

const word = "un mot de passe assez long"

// serves makes the group of the citizen service, led by a node.
func (r *rig) serves(leads ident.Node) {
	r.t.Helper()
	g := r.apply(&cluster.CreateGroup{Name: "citizen", Preferred: leads, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}})
	r.apply(&cluster.SetService{Group: g.Group})
}

func (a answer) enrolment(t *testing.T, want int) (e agents.Enrolment) {
	t.Helper()
	if err := json.Unmarshal(a.body, &e); err != nil || a.code != want {
		t.Fatalf("%d %s; want %d", a.code, a.body, want)
	}
	return e
}

func TestAnAgentsLifeIsAuditedWithoutItsSecrets(t *testing.T) {
	r := newRig(t)
	r.serves(self)
	w := towntest.New(t, r.dir.Socket("citizen"))
	r.user("anne", cluster.RoleAdmin)

	e := r.as("anne", "POST", "agents", api.NewAgent{Name: "martin", Display: "Camille Martin", Password: word}).enrolment(t, http.StatusCreated)
	token, err := w.Login("martin", word, e.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if list := get[[]agents.Agent](r, "agents"); len(list) != 1 || list[0].Name != "martin" || list[0].Display != "Camille Martin" || list[0].LastLogin == nil {
		t.Errorf("listed: %+v", list)
	}
	next := r.as("anne", "POST", "agents/martin/renew", api.AgentRenewal{Secret: true}).enrolment(t, http.StatusOK)
	if _, err := w.Session(t.Context(), token); err != agent.ErrSession {
		t.Errorf("the session outlives a renewal: %v", err)
	}
	if _, err := w.Login("martin", word, next.Secret); err != nil {
		t.Errorf("by the new secret: %v", err)
	}
	const another = "encore un mot de passe"
	if none := r.as("anne", "POST", "agents/martin/renew", api.AgentRenewal{Password: another}).enrolment(t, http.StatusOK); none != (agents.Enrolment{}) {
		t.Errorf("a new password alone told %+v", none)
	}
	for i, want := range []string{`{"changed":true}`, `{"changed":false}`} {
		if a := r.as("anne", "POST", "agents/martin/close", nil); strings.TrimSpace(string(a.body)) != want {
			t.Errorf("close, time %d: %s; want %s", i+1, a.body, want)
		}
	}
	if _, err := w.Login("martin", another, next.Secret); err == nil {
		t.Error("a closed agent logs in")
	}
	last := r.as("anne", "POST", "agents/martin/reopen", api.AgentRenewal{Password: word}).enrolment(t, http.StatusOK)
	if _, err := w.Login("martin", word, last.Secret); err != nil {
		t.Errorf("reopened: %v", err)
	}

	var said []string
	r.await("audited", func() bool {
		said = nil
		for _, e := range get[[]status.Event](r, "events") {
			if e.Kind == "audit" && strings.HasPrefix(e.Cause, "anne (127.0.0.1:") {
				said = append(said, e.New)
			}
		}
		return len(said) == 5
	})
	all := strings.Join(said, "; ")
	for _, want := range []string{"create agent martin", "renew agent martin: new secret", "renew agent martin: new password", "close agent martin", "reopen agent martin: new password, new secret"} {
		if !strings.Contains(all, want) {
			t.Errorf("the audit lacks %q: %s", want, all)
		}
	}
	for _, secret := range []string{e.Secret, next.Secret, last.Secret, word, another} {
		if strings.Contains(all, secret) {
			t.Errorf("the audit tells a secret: %s", all)
		}
	}
}
