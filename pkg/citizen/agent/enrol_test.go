package agent_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/citizen/store"
)

const other = "encore un mot de passe"

// lines are the kinds of the audit trail, with the operator of each, after its proof.
func (r *rig) lines(t *testing.T) (all []string) {
	t.Helper()
	if _, err := r.CheckAudit(t.Context()); err != nil {
		t.Error(err)
	}
	err := r.st.Read(t.Context(), "read audit trail", func(ctx context.Context, tx *store.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT kind, actor, data FROM audit ORDER BY seq`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var kind, actor, data string
			if err := rows.Scan(&kind, &actor, &data); err != nil {
				return err
			}
			if r.secret != "" && strings.Contains(data, r.secret) || strings.Contains(data, password) || strings.Contains(data, other) {
				t.Errorf("line %q of %s holds a secret: %s", kind, actor, data)
			}
			all = append(all, strings.TrimSuffix(actor+" "+kind+" "+data, " null"))
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (r *rig) last(t *testing.T) string {
	all := r.lines(t)
	return all[len(all)-1]
}

func TestTheListSaysWhoMayLogInAndWhoDidWhen(t *testing.T) {
	r := newRig(t)
	made := r.clk.Wall()
	for _, name := range []string{"zoe", "albert"} {
		if _, err := r.Provision(t.Context(), agent.New{Name: name, Display: " " + name + " É. ", Password: password, Issuer: "Ville"}); err != nil {
			t.Fatal(err)
		}
	}
	r.clk.advance(time.Hour)
	if _, err := r.login(t, nil); err != nil {
		t.Fatal(err)
	}
	if changed, err := r.Close(t.Context(), "albert", "anne"); !changed || err != nil {
		t.Fatal(changed, err)
	}
	list, err := r.List(t.Context())
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	for i, want := range []struct {
		name, display string
		login, closed time.Time
	}{{"martin", "Camille Martin", r.clk.Wall(), time.Time{}}, {"zoe", "zoe É.", time.Time{}, time.Time{}}, {"albert", "albert É.", time.Time{}, r.clk.Wall()}} {
		e := list[i]
		if e.Name != want.name || e.Display != want.display || !e.Made.Equal(made) || !e.LastLogin.Equal(want.login) || !e.Closed.Equal(want.closed) {
			t.Errorf("line %d: %+v; want %+v", i, e, want)
		}
	}
}

func TestARenewalReplacesWhatItSaysAndEndsSessions(t *testing.T) {
	for _, tc := range []struct {
		name               string
		password           string
		secret             bool
		oldWord, oldSecret bool // still right
	}{
		{"a new password", other, false, false, true},
		{"a new secret", "", true, true, false},
		{"both", other, true, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			token, err := r.login(t, nil)
			if err != nil {
				t.Fatal(err)
			}
			e, err := r.Renew(t.Context(), agent.Renewal{Name: "martin", Password: tc.password, Secret: tc.secret, Issuer: "Ville", By: "anne"})
			if err != nil || tc.secret != (e.Secret != "" && strings.Contains(e.URI, e.Secret)) || e.Secret == r.secret {
				t.Fatalf("renewed: %+v, %v", e, err)
			}
			if _, err := r.Session(t.Context(), token); !errors.Is(err, agent.ErrSession) {
				t.Errorf("the session goes on: %v", err)
			}
			if line := r.last(t); !strings.HasPrefix(line, `martin renewed {"by":"anne"`) || strings.Contains(line, `"password":"new"`) != (tc.password != "") || strings.Contains(line, `"secret":"new"`) != tc.secret {
				t.Errorf("the audit trail says %s", line)
			}
			old := r.secret
			for _, word := range []string{password, other} {
				for _, secret := range []string{old, e.Secret} {
					if r.secret = secret; secret == "" || word == other && tc.password == "" {
						continue
					}
					r.clk.advance(5 * time.Minute) // another code, and attempts enough
					_, err := r.login(t, func(l *agent.Login) { l.Password = word })
					right := (word == other || tc.oldWord) && (secret == e.Secret || tc.oldSecret)
					if right != (err == nil) || !right && !errors.Is(err, agent.ErrLogin) {
						t.Errorf("old password %v, old secret %v: %v; want right %v", word == password, secret == old, err, right)
					}
				}
			}
		})
	}
}

func TestANewSecretTakesTheFirstCodeOfItsPhone(t *testing.T) {
	r := newRig(t)
	if _, err := r.login(t, nil); err != nil {
		t.Fatal(err)
	}
	e, err := r.Renew(t.Context(), agent.Renewal{Name: "martin", Secret: true, Issuer: "Ville"})
	if err != nil {
		t.Fatal(err)
	}
	r.secret = e.Secret
	if _, err := r.login(t, nil); err != nil {
		t.Errorf("in the same half minute as a code of the old phone: %v", err)
	}
}

func TestAClosedAgentIsAnsweredLikeAWrongLogin(t *testing.T) {
	r := newRig(t)
	token, err := r.login(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if changed, err := r.Close(t.Context(), "martin", "anne"); changed != want || err != nil {
			t.Errorf("close, time %d: %v, %v", i+1, changed, err)
		}
	}
	if line := r.last(t); line != `martin closed {"by":"anne"}` {
		t.Errorf("the audit trail says %s", line)
	}
	if _, err := r.Session(t.Context(), token); !errors.Is(err, agent.ErrSession) {
		t.Errorf("the session goes on: %v", err)
	}
	wrong := func() (string, error) {
		r.clk.advance(5 * time.Minute)
		_, err := r.login(t, nil)
		return r.last(t), err
	}
	if line, err := wrong(); !errors.Is(err, agent.ErrLogin) || line != `martin login refused {"address":"192.0.2.1"}` {
		t.Errorf("all right but closed: %v, %s", err, line)
	}
	r.secret = "" // what a closed agent's secret is now
	if _, err := wrong(); !errors.Is(err, agent.ErrLogin) {
		t.Errorf("a code of no secret: %v", err)
	}
	if _, err := r.login(t, func(l *agent.Login) { l.Password = "" }); !errors.Is(err, agent.ErrLogin) {
		t.Errorf("no password: %v", err)
	}
	if _, err := r.Provision(t.Context(), agent.New{Name: "martin", Display: "Another Martin", Password: password, Issuer: "Ville"}); !errors.Is(err, agent.ErrExists) {
		t.Errorf("the name again: %v", err)
	}
	if _, err := r.Renew(t.Context(), agent.Renewal{Name: "martin", Secret: true, Issuer: "Ville"}); !errors.Is(err, agent.ErrClosed) {
		t.Errorf("renewed: %v", err)
	}
}

func TestAReopenedAgentHasANewPasswordAndANewSecret(t *testing.T) {
	r := newRig(t)
	if _, err := r.Reopen(t.Context(), agent.Renewal{Name: "martin", Password: other, Issuer: "Ville"}); !errors.Is(err, agent.ErrOpen) {
		t.Errorf("one who is not closed: %v", err)
	}
	if _, err := r.Close(t.Context(), "martin", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reopen(t.Context(), agent.Renewal{Name: "martin", Issuer: "Ville"}); !errors.Is(err, agent.ErrPassword) {
		t.Errorf("without a password: %v", err)
	}
	e, err := r.Reopen(t.Context(), agent.Renewal{Name: "martin", Password: other, Issuer: "Ville", By: "anne"})
	if err != nil || e.Secret == "" || e.Secret == r.secret {
		t.Fatalf("%+v, %v", e, err)
	}
	if line := r.last(t); line != `martin reopened {"by":"anne","password":"new","secret":"new"}` {
		t.Errorf("the audit trail says %s", line)
	}
	if _, err := r.login(t, nil); !errors.Is(err, agent.ErrLogin) {
		t.Errorf("as before: %v", err)
	}
	r.secret = e.Secret
	if _, err := r.login(t, func(l *agent.Login) { l.Password = other }); err != nil {
		t.Errorf("with what is new: %v", err)
	}
}

func TestWhatMayNotBeIsRefusedAndChangesNothing(t *testing.T) {
	r := newRig(t)
	before := len(r.lines(t))
	for _, tc := range []struct {
		name string
		do   func() error
		want error
	}{
		{"a list's line feed in a displayed name", func() error {
			_, err := r.Provision(t.Context(), agent.New{Name: "x", Display: "a\nb", Password: password, Issuer: "Ville"})
			return err
		}, agent.ErrDisplay},
		{"a displayed name of 81 characters", func() error {
			_, err := r.Provision(t.Context(), agent.New{Name: "x", Display: strings.Repeat("é", 81), Password: password, Issuer: "Ville"})
			return err
		}, agent.ErrDisplay},
		{"the name that a case's history gives to citizens", func() error {
			_, err := r.Provision(t.Context(), agent.New{Name: "citizen", Display: "x", Password: password, Issuer: "Ville"})
			return err
		}, agent.ErrExists},
		{"a renewal of nothing", func() error {
			_, err := r.Renew(t.Context(), agent.Renewal{Name: "martin", Issuer: "Ville"})
			return err
		}, agent.ErrNothing},
		{"a short password", func() error {
			_, err := r.Renew(t.Context(), agent.Renewal{Name: "martin", Password: "short", Secret: true, Issuer: "Ville"})
			return err
		}, agent.ErrPassword},
		{"a renewal of nobody", func() error {
			_, err := r.Renew(t.Context(), agent.Renewal{Name: "dupont", Secret: true, Issuer: "Ville"})
			return err
		}, agent.ErrUnknown},
		{"a closing of nobody", func() error { _, err := r.Close(t.Context(), "dupont", ""); return err }, agent.ErrUnknown},
	} {
		if err := tc.do(); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v; want %v", tc.name, err, tc.want)
		}
	}
	if n := len(r.lines(t)); n != before {
		t.Errorf("%d audit lines were %d", n, before)
	}
	if _, err := r.login(t, nil); err != nil {
		t.Errorf("martin may not log in any more: %v", err)
	}
	if _, err := r.Provision(t.Context(), agent.New{Name: "x", Display: strings.Repeat("é", 80), Password: password, Issuer: "Ville"}); err != nil {
		t.Errorf("a displayed name of 80 characters: %v", err)
	}
}

// Between the check of the password and the code an operator may act.
func TestALoginThatIsUnderWayDoesNotOutrunAClosing(t *testing.T) {
	for range 20 {
		r := newRig(t)
		done := make(chan string, 1)
		go func() {
			token, _ := r.login(t, nil)
			done <- token
		}()
		if _, err := r.Close(t.Context(), "martin", ""); err != nil {
			t.Fatal(err)
		}
		if token := <-done; token != "" {
			if _, err := r.Session(t.Context(), token); !errors.Is(err, agent.ErrSession) {
				t.Fatalf("a closed agent has a session: %v", err)
			}
		}
	}
}

// A volume that an earlier release wrote: it lacks the columns, and its audit trail
// tells who logged in last.
func TestAVolumeOfAnEarlierReleaseKeepsItsAgents(t *testing.T) {
	r := newRig(t)
	if _, err := r.login(t, nil); err != nil {
		t.Fatal(err)
	}
	at := r.clk.Wall()
	err := r.st.Write(t.Context(), "go back", func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `ALTER TABLE agent DROP COLUMN login_at; ALTER TABLE agent DROP COLUMN closed_at; DROP INDEX casefile_by_work; PRAGMA user_version = 1`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.reopen(t)
	r.clk.advance(time.Hour)
	list, err := r.List(t.Context())
	if err != nil || len(list) != 1 || !list[0].LastLogin.Equal(at) || !list[0].Closed.IsZero() {
		t.Errorf("%+v, %v; want the login of %v", list, err, at)
	}
	if _, err := r.login(t, nil); err != nil {
		t.Error(err)
	}
}
