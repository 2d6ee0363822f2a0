package agent_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"beffroi.dev/pkg/citizen/agent"
	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk/simdisk"
)

const password = "un mot de passe assez long"

// hands is a clock whose wall time the test sets.
type hands struct {
	clock.System
	at atomic.Int64
}

func (h *hands) Wall() time.Time         { return time.Unix(h.at.Load(), 0) }
func (h *hands) advance(d time.Duration) { h.at.Add(int64(d / time.Second)) }

type rig struct {
	*agent.Register
	disk   *simdisk.Disk
	st     *store.Store
	clk    *hands
	secret string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	d := simdisk.New(8 << 20)
	if err := store.Format(t.Context(), d, store.Config{}, quiet); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), d, store.Config{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{disk: d, st: st, clk: &hands{}}
	t.Cleanup(func() { _ = r.st.Close() })
	r.clk.at.Store(1_790_000_000)
	r.Register = agent.Open(st, r.clk, quiet)
	e, err := r.Provision(t.Context(), agent.New{Name: "martin", Display: "Camille Martin", Password: password, Issuer: "Ville", By: "anne"})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(e.URI, "otpauth://totp/") || !strings.Contains(e.URI, e.Secret) {
		t.Fatalf("enrolment %q", e.URI)
	}
	r.secret = e.Secret
	return r
}

// reopen begins the next life of the service.
func (r *rig) reopen(t *testing.T) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	if err := r.st.Close(); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), r.disk, store.Config{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	r.st, r.Register = st, agent.Open(st, r.clk, quiet)
}

func (r *rig) code(t *testing.T, at time.Time) string {
	t.Helper()
	c, err := totp.GenerateCode(r.secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) login(t *testing.T, change func(*agent.Login)) (string, error) {
	t.Helper()
	l := agent.Login{Name: "martin", Password: password, Code: r.code(t, r.clk.Wall()), Address: "192.0.2.1"}
	if change != nil {
		change(&l)
	}
	return r.Login(t.Context(), l)
}

func TestALoginNeedsNamePasswordAndCode(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*agent.Login)
		want   error
	}{
		{"all three", nil, nil},
		{"a name in capitals and a code with a space", func(l *agent.Login) { l.Name = " Martin "; l.Code = l.Code[:3] + " " + l.Code[3:] }, nil},
		{"another name", func(l *agent.Login) { l.Name = "dupont" }, agent.ErrLogin},
		{"another password", func(l *agent.Login) { l.Password += "!" }, agent.ErrLogin},
		{"no password", func(l *agent.Login) { l.Password = "" }, agent.ErrLogin},
		{"an endless password", func(l *agent.Login) { l.Password = strings.Repeat("x", 1<<20) }, agent.ErrLogin},
		{"no code", func(l *agent.Login) { l.Code = "" }, agent.ErrLogin},
		{"a code that is no number", func(l *agent.Login) { l.Code = "abcdef" }, agent.ErrLogin},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			token, err := r.login(t, tc.change)
			if !errors.Is(err, tc.want) || (err == nil) != (token != "") {
				t.Fatalf("got %q, %v; want %v", token, err, tc.want)
			}
			if err == nil {
				if a, err := r.Session(t.Context(), token); err != nil || a.Display != "Camille Martin" {
					t.Errorf("session: %+v, %v", a, err)
				}
			}
			if _, err := r.CheckAudit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestACodeIsSpentByItsFirstUse(t *testing.T) {
	r := newRig(t)
	code := r.code(t, r.clk.Wall())
	var passed atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := r.login(t, func(l *agent.Login) { l.Code = code }); err == nil {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 1 {
		t.Errorf("one code opened %d sessions", passed.Load())
	}
	before := r.code(t, r.clk.Wall().Add(-30*time.Second))
	if _, err := r.login(t, func(l *agent.Login) { l.Code = before }); !errors.Is(err, agent.ErrLogin) {
		t.Errorf("an older code after a newer one: %v", err)
	}
	r.clk.advance(time.Minute)
	if _, err := r.login(t, nil); err != nil {
		t.Errorf("the next code: %v", err)
	}
}

func TestTooManyAttemptsAreRefusedEvenWithTheRightAnswer(t *testing.T) {
	r := newRig(t)
	for range 5 {
		_, _ = r.login(t, func(l *agent.Login) { l.Code = "000000"; l.Password = "wrong" })
	}
	if _, err := r.login(t, nil); !errors.Is(err, agent.ErrTooMany) {
		t.Errorf("sixth attempt: %v; want ErrTooMany", err)
	}
	r.clk.advance(2 * time.Minute)
	if _, err := r.login(t, nil); err != nil {
		t.Errorf("after waiting: %v", err)
	}
}

func TestASessionEnds(t *testing.T) {
	for _, tc := range []struct {
		name string
		act  func(t *testing.T, r *rig, token string)
		live bool
	}{
		{"not while it is used", func(t *testing.T, r *rig, token string) {
			for range 5 {
				r.clk.advance(110 * time.Minute)
				_, _ = r.Session(t.Context(), token)
			}
		}, true},
		{"when it is not used", func(_ *testing.T, r *rig, _ string) { r.clk.advance(3 * time.Hour) }, false},
		{"after a day's work", func(t *testing.T, r *rig, token string) {
			for range 11 {
				r.clk.advance(time.Hour)
				_, _ = r.Session(t.Context(), token)
			}
		}, false},
		{"by logging out", func(t *testing.T, r *rig, token string) {
			a, _ := r.Session(t.Context(), token)
			if err := r.Logout(t.Context(), a, token); err != nil {
				t.Error(err)
			}
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			token, err := r.login(t, nil)
			if err != nil {
				t.Fatal(err)
			}
			tc.act(t, r, token)
			if _, err := r.Session(t.Context(), token); (err == nil) != tc.live {
				t.Errorf("session: %v; want live %v", err, tc.live)
			}
		})
	}
}

func TestProvisioningRefusesWhatMayNotBe(t *testing.T) {
	r := newRig(t)
	for _, tc := range []struct{ name, display, password string }{
		{"martin", "Camille Martin", password}, {"Martin !", "x", password}, {"dupont", "", password}, {"dupont", "x", "short"},
	} {
		if _, err := r.Provision(t.Context(), agent.New{Name: tc.name, Display: tc.display, Password: tc.password, Issuer: "Ville"}); err == nil {
			t.Errorf("%q, %q was provisioned", tc.name, tc.display)
		}
	}
	if n, err := r.Count(t.Context()); n != 1 || err != nil {
		t.Errorf("%d agents, %v", n, err)
	}
}

func TestAChangedAuditTrailShows(t *testing.T) {
	r := newRig(t)
	_, _ = r.login(t, func(l *agent.Login) { l.Code = "1" })
	_, _ = r.login(t, nil)
	if n, err := r.CheckAudit(t.Context()); n != 3 || err != nil {
		t.Fatalf("%d lines, %v", n, err)
	}
	err := r.st.Write(t.Context(), "tamper", func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE audit SET actor = 'dupont' WHERE kind = 'login refused'`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.CheckAudit(t.Context()); !errors.Is(err, agent.ErrChain) {
		t.Errorf("got %v; want ErrChain", err)
	}
}
