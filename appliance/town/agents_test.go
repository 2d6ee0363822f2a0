package town_test

import (
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"beffroi.dev/appliance/agents"
	"beffroi.dev/appliance/town/towntest"
	"beffroi.dev/pkg/citizen/agent"
)

const (
	word  = "un mot de passe assez long"
	other = "encore un mot de passe"
)

// newDesk is a citizen service with the agent martin, and the console's client of it.
func newDesk(t *testing.T) (*towntest.Town, *agents.Client, agents.Enrolment) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	w, c := towntest.New(t, path), agents.NewClient(path)
	e, err := c.Create(t.Context(), agents.New{Name: "martin", Display: "Camille Martin", Password: word, By: "anne"})
	if err != nil {
		t.Fatal(err)
	}
	return w, c, e
}

func (c code) of(t *testing.T, what string, err error) {
	t.Helper()
	var e *agents.Error
	if !errors.As(err, &e) || e.Code != agents.Code(c) || e.Message == "" {
		t.Errorf("%s: %v; want code %s", what, err, c)
	}
}

type code agents.Code

func TestAnOperatorsAgentLogsInAndIsListed(t *testing.T) {
	w, c, e := newDesk(t)
	if !strings.HasPrefix(e.URI, "otpauth://totp/"+towntest.Issuer+":martin?") || !strings.Contains(e.URI, e.Secret) {
		t.Errorf("enrolment %+v", e)
	}
	list, err := c.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "martin" || list[0].Display != "Camille Martin" || list[0].Made.IsZero() || list[0].LastLogin != nil || list[0].Closed != nil {
		t.Fatalf("%+v, %v", list, err)
	}
	if _, err := w.Login("martin", word, e.Secret); err != nil {
		t.Fatal(err)
	}
	if list, err = c.List(t.Context()); err != nil || list[0].LastLogin == nil {
		t.Errorf("after a login: %+v, %v", list, err)
	}
}

func TestARenewalReplacesOneOrBothAndEndsSessions(t *testing.T) {
	for _, tt := range []struct {
		name string
		ask  agents.Renewal
	}{{"password", agents.Renewal{Password: other}}, {"secret", agents.Renewal{Secret: true}}, {"both", agents.Renewal{Password: other, Secret: true}}} {
		t.Run(tt.name, func(t *testing.T) {
			w, c, e := newDesk(t)
			token, err := w.Login("martin", word, e.Secret)
			if err != nil {
				t.Fatal(err)
			}
			now, err := c.Renew(t.Context(), "martin", tt.ask)
			if err != nil || (now.Secret != "") != tt.ask.Secret || (now.URI != "") != tt.ask.Secret {
				t.Fatalf("%+v, %v", now, err)
			}
			if _, err := w.Session(t.Context(), token); !errors.Is(err, agent.ErrSession) {
				t.Errorf("the session goes on: %v", err)
			}
			if _, err := w.Login("martin", word, e.Secret); !errors.Is(err, agent.ErrLogin) {
				t.Errorf("as before: %v", err)
			}
			password, secret := word, e.Secret
			if tt.ask.Password != "" {
				password = other
			}
			if tt.ask.Secret {
				secret = now.Secret
			}
			if _, err := w.Login("martin", password, secret); err != nil {
				t.Errorf("as renewed: %v", err)
			}
		})
	}
}

func TestAClosedAgentIsOutAtOnceAndComesBackByReopening(t *testing.T) {
	w, c, e := newDesk(t)
	token, err := w.Login("martin", word, e.Secret)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if changed, err := c.Close(t.Context(), "martin", "anne"); changed != want || err != nil {
			t.Errorf("close, time %d: %v, %v", i+1, changed, err)
		}
	}
	if _, err := w.Session(t.Context(), token); !errors.Is(err, agent.ErrSession) {
		t.Errorf("the session goes on: %v", err)
	}
	if list, err := c.List(t.Context()); err != nil || list[0].Closed == nil {
		t.Errorf("%+v, %v", list, err)
	}
	_, err = c.Renew(t.Context(), "martin", agents.Renewal{Secret: true})
	code(agents.IsClosed).of(t, "renew", err)
	_, err = c.Create(t.Context(), agents.New{Name: "martin", Display: "x", Password: word})
	code(agents.Exists).of(t, "the name again", err)
	e, err = c.Reopen(t.Context(), "martin", agents.Renewal{Password: other})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Login("martin", other, e.Secret); err != nil {
		t.Errorf("reopened: %v", err)
	}
	_, err = c.Reopen(t.Context(), "martin", agents.Renewal{Password: other})
	code(agents.IsOpen).of(t, "reopen again", err)
}

func TestEveryFaultHasACodeOfItsOwn(t *testing.T) {
	w, c, _ := newDesk(t)
	for _, tt := range []struct {
		what string
		want agents.Code
		do   func() error
	}{
		{"a name with capitals", agents.BadName, func() error {
			_, err := c.Create(t.Context(), agents.New{Name: "Dupont", Display: "x", Password: word})
			return err
		}},
		{"no displayed name", agents.BadDisplay, func() error {
			_, err := c.Create(t.Context(), agents.New{Name: "dupont", Display: " ", Password: word})
			return err
		}},
		{"a short password", agents.BadPassword, func() error {
			_, err := c.Create(t.Context(), agents.New{Name: "dupont", Display: "x", Password: "short"})
			return err
		}},
		{"a body beyond all bounds", agents.BadRequest, func() error {
			_, err := c.Create(t.Context(), agents.New{Name: "dupont", Display: strings.Repeat("x", 5000), Password: word})
			return err
		}},
		{"a renewal of nothing", agents.Nothing, func() error { _, err := c.Renew(t.Context(), "martin", agents.Renewal{}); return err }},
		{"a renewal of nobody", agents.Unknown, func() error { _, err := c.Renew(t.Context(), "dupont", agents.Renewal{Secret: true}); return err }},
		{"the end of nobody", agents.Unknown, func() error { _, err := c.Close(t.Context(), "../x", ""); return err }},
	} {
		code(tt.want).of(t, tt.what, tt.do())
	}
	w.Serve(false)
	_, err := c.List(t.Context())
	code(agents.NotServing).of(t, "a list of a node that does not serve", err)
	_, err = c.Close(t.Context(), "martin", "")
	code(agents.NotServing).of(t, "a change on a node that does not serve", err)
	w.Serve(true)
	if list, err := c.List(t.Context()); err != nil || len(list) != 1 || list[0].Closed != nil {
		t.Errorf("what was refused changed something: %+v, %v", list, err)
	}
}

func TestAServiceThatIsNotThereIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	_, err := agents.NewClient(path).List(t.Context())
	var e *agents.Error
	if err == nil || errors.As(err, &e) || !strings.Contains(err.Error(), "citizen service") {
		t.Errorf("no socket: %v", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler()}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	defer func() { _ = srv.Close(); <-done }()
	if _, err := agents.NewClient(path).List(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a service of another kind: %v", err)
	}
}
