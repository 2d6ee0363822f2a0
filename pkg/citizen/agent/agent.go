package agent

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"

	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/citizen/throttle"
	"beffroi.dev/pkg/clock"
)

const (
	sessionLife = 10 * time.Hour   // a working day
	sessionIdle = 2 * time.Hour    // an agent who went to lunch comes back to the same page
	seenEvery   = 5 * time.Minute  // how often a used session is written, so that reading costs no commit
	step        = 30 * time.Second // of the one-time code
	skew        = 1                // steps accepted on either side, for clocks that differ
)

var (
	// ErrLogin is returned for any wrong name, password or code. It does not say which.
	ErrLogin = errors.New("name, password or code is wrong")
	// ErrTooMany is returned when too many logins were tried.
	ErrTooMany = errors.New("too many attempts")
	// ErrSession is returned when there is no such session, or no longer.
	ErrSession = errors.New("no session")
	// ErrExists is returned for a name that is taken, by a closed agent too.
	ErrExists = errors.New("an agent with this name exists or existed, and a name is given once")
	// ErrUnknown is returned for a name that no agent has.
	ErrUnknown = errors.New("there is no agent with this name")
	// ErrClosed and ErrOpen are returned for what only the other kind can.
	ErrClosed = errors.New("the agent is closed")
	ErrOpen   = errors.New("the agent is not closed")
	// ErrDisplay is returned for a displayed name that may not be used.
	ErrDisplay = errors.New("the displayed name has 1 to 80 characters, all of them visible")
	// ErrNothing is returned when a renewal renews nothing.
	ErrNothing = errors.New("a renewal needs a new password or a new one-time secret")
)

// Agent is one person of the town hall.
type Agent struct {
	ID      int64
	Name    string
	Display string
}

// Register knows all agents of a store.
type Register struct {
	st      *store.Store
	clock   clock.Clock
	log     *slog.Logger
	byName  *throttle.Table
	byAddr  *throttle.Table
	hashing chan struct{} // one password at a time
	decoy   parsed        // compared when the name does not exist, so that it takes as long
}

// Open makes the register of a store.
func Open(st *store.Store, clk clock.Clock, log *slog.Logger) *Register {
	return &Register{
		st: st, clock: clk, log: log.With("room", "citizen/agent"),
		// Five attempts, then one a minute: who has stolen a password still needs
		// some 230 days for six digits and three steps, each try an audit line.
		byName:  throttle.New(time.Minute, 5),
		byAddr:  throttle.New(10*time.Second, 20), // a town hall shares one address
		hashing: make(chan struct{}, 1), decoy: newDecoy(),
	}
}

// Count returns how many agents there are.
func (r *Register) Count(ctx context.Context) (n int, err error) {
	err = r.st.Read(ctx, "count agents", func(ctx context.Context, tx *store.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM agent`).Scan(&n)
	})
	return n, err
}

// Login is one attempt.
type Login struct {
	Name, Password, Code string
	Address              string // throttle key of where it comes from
}

// Login checks an attempt and opens a session; it returns the session's token.
func (r *Register) Login(ctx context.Context, l Login) (string, error) {
	now := r.clock.Wall()
	name := strings.ToLower(strings.TrimSpace(l.Name))
	okName, _ := r.byName.Allow(name, now)
	okAddr, _ := r.byAddr.Allow(l.Address, now)
	if !okName || !okAddr {
		r.log.Warn("login refused", "agent", name, "address", l.Address, "cause", "too many attempts")
		return "", ErrTooMany
	}
	a, stored, err := r.verify(ctx, name, l.Password)
	if err == nil {
		var token string
		if token, err = r.enter(ctx, a, stored, l, now); err == nil {
			r.log.Info("agent logged in", "agent", name, "address", l.Address)
			return token, nil
		}
	}
	if !errors.Is(err, ErrLogin) {
		return "", err
	}
	r.log.Warn("login refused", "agent", name, "address", l.Address, "cause", "wrong name, password or code")
	if a.ID == 0 { // a name that does not exist leaves no line: it may be anything, even a password
		return "", ErrLogin
	}
	return "", errors.Join(ErrLogin, r.st.Write(ctx, "note failed login", func(ctx context.Context, tx *store.Tx) error {
		return note(ctx, tx, "login refused", name, now, map[string]string{"address": l.Address})
	}))
}

// verify checks the password, one at a time, and returns it as it is stored. A closed
// agent has none; the decoy makes it take as long as any other.
func (r *Register) verify(ctx context.Context, name, password string) (Agent, string, error) {
	a := Agent{Name: name}
	var stored string
	err := r.st.Read(ctx, "find agent", func(ctx context.Context, tx *store.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT id, display, password FROM agent WHERE name = ?`, name).Scan(&a.ID, &a.Display, &stored)
	})
	p := r.decoy
	switch {
	case err == nil && stored != "":
		if p, err = parseHash(stored); err != nil {
			return a, "", fmt.Errorf("agent %s: %w", name, err)
		}
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return a, "", err
	}
	release, err := r.slot(ctx)
	if err != nil {
		return a, "", err
	}
	defer release()
	if !p.matches(password) || stored == "" {
		return a, "", ErrLogin
	}
	return a, stored, nil
}

// slot waits until no other password is worked on.
func (r *Register) slot(ctx context.Context) (release func(), err error) {
	select {
	case r.hashing <- struct{}{}:
		return func() { <-r.hashing }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a password's turn: %w", ctx.Err())
	}
}

// enter spends the one-time code and opens the session in one transaction, so
// that two requests with one code cannot both pass. The password must still be the
// one that was checked: the agent may have been renewed or closed meanwhile.
func (r *Register) enter(ctx context.Context, a Agent, stored string, l Login, now time.Time) (string, error) {
	token := rand.Text()
	err := r.st.Write(ctx, "open session", func(ctx context.Context, tx *store.Tx) error {
		var secret string
		var last int64
		err := tx.QueryRowContext(ctx, `SELECT secret, last_step FROM agent WHERE id = ? AND password = ?`, a.ID, stored).Scan(&secret, &last)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrLogin
		}
		if err != nil {
			return err
		}
		used, ok := matchCode(secret, strings.ReplaceAll(l.Code, " ", ""), now, last)
		if !ok {
			return ErrLogin
		}
		if _, err := tx.ExecContext(ctx, `UPDATE agent SET last_step = ?, login_at = ? WHERE id = ?`, used, now.UnixMilli(), a.ID); err != nil {
			return err
		}
		h := sha256.Sum256([]byte(token))
		if _, err := tx.ExecContext(ctx, `INSERT INTO session (hash, agent, made_at, seen_at) VALUES (?, ?, ?, ?)`, h[:], a.ID, now.UnixMilli(), now.UnixMilli()); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM session WHERE made_at < ?`, now.Add(-sessionLife).UnixMilli()); err != nil {
			return err
		}
		return note(ctx, tx, "logged in", a.Name, now, map[string]string{"address": l.Address})
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// matchCode finds the step that a code belongs to, later than the last one
// used. It looks at every step whatever it finds, to take the same time.
func matchCode(secret, code string, now time.Time, last int64) (used int64, ok bool) {
	current := now.Unix() / int64(step/time.Second)
	for s := current - skew; s <= current+skew; s++ {
		want, err := totp.GenerateCode(secret, time.Unix(s*int64(step/time.Second), 0))
		if err == nil && equal(want, code) && s > last && !ok {
			used, ok = s, true
		}
	}
	return used, ok
}
