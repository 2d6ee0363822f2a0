package agent

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/ident"
)

const maxDisplay = 80 // characters

// citizen is the actor of what citizens do, in the histories that agents are actors of.
const citizen = "citizen"

// Enrolment is what an agent needs for the code application. It is shown once and
// kept nowhere else. It is empty when the one-time secret stays as it was.
type Enrolment struct {
	URI    string // otpauth://
	Secret string // the same in letters, for typing
}

// New asks for an agent.
type New struct {
	Name, Display, Password string
	Issuer                  string // what the code application calls the town
	By                      string // who asks, for the audit trail
}

// Renewal gives an agent a new password, a new one-time secret, or both.
type Renewal struct {
	Name     string
	Password string // empty: stays as it is
	Secret   bool
	Issuer   string
	By       string
}

// Entry is an agent as a list shows it. A time that is zero has not come.
type Entry struct {
	Agent
	Made, LastLogin, Closed time.Time
}

// Provision creates an agent. It is called for the operators of the appliance, never
// by a page of this service.
func (r *Register) Provision(ctx context.Context, n New) (Enrolment, error) {
	what := "provision agent " + n.Name
	if err := ident.CheckName(n.Name); err != nil {
		return Enrolment{}, fmt.Errorf("provision agent: %w", err)
	}
	if n.Name == citizen {
		return Enrolment{}, fmt.Errorf("%s: it is how a case's history names who filed it: %w", what, ErrExists)
	}
	if n.Display = strings.TrimSpace(n.Display); !visible(n.Display) {
		return Enrolment{}, fmt.Errorf("%s: %w", what, ErrDisplay)
	}
	hash, err := r.hash(ctx, n.Password)
	if err != nil {
		return Enrolment{}, fmt.Errorf("%s: %w", what, err)
	}
	key, err := newKey(n.Issuer, n.Name)
	if err != nil {
		return Enrolment{}, fmt.Errorf("%s: %w", what, err)
	}
	err = r.st.Write(ctx, what, func(ctx context.Context, tx *store.Tx) error {
		at := r.clock.Wall()
		res, err := tx.ExecContext(ctx, `INSERT INTO agent (name, display, password, secret, made_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			n.Name, n.Display, hash, key.Secret(), at.UnixMilli())
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, ErrExists)
		}
		return note(ctx, tx, "provisioned", n.Name, at, asked(n.By, nil))
	})
	if err != nil {
		return Enrolment{}, err
	}
	r.log.Info("agent provisioned", "agent", n.Name, "by", n.By)
	return Enrolment{URI: key.URL(), Secret: key.Secret()}, nil
}

// visible tells whether a displayed name can be read.
func visible(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxDisplay && strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
}

func newKey(issuer, name string) (*otp.Key, error) {
	return totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: name, Period: uint(step / time.Second)})
}

// hash checks a new password and hashes it, one at a time.
func (r *Register) hash(ctx context.Context, password string) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	release, err := r.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	return hashPassword(password), nil
}

// asked is the data of an audit line that somebody at the appliance asked for.
func asked(by string, data map[string]string) map[string]string {
	if by == "" {
		return data
	}
	if data == nil {
		data = map[string]string{}
	}
	data["by"] = by
	return data
}

// List returns all agents by name, those who may log in first.
func (r *Register) List(ctx context.Context) (list []Entry, err error) {
	err = r.st.Read(ctx, "list agents", func(ctx context.Context, tx *store.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT id, name, display, made_at, login_at, closed_at FROM agent ORDER BY closed_at IS NOT NULL, name`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e Entry
			var made, login, closed sql.NullInt64
			if err := rows.Scan(&e.ID, &e.Name, &e.Display, &made, &login, &closed); err != nil {
				return err
			}
			e.Made, e.LastLogin, e.Closed = moment(made), moment(login), moment(closed)
			list = append(list, e)
		}
		return rows.Err()
	})
	return list, err
}

func moment(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64)
}

// Renew replaces what an agent logs in with, and ends the agent's sessions: who has
// lost a telephone, or a password, has lost both ends of them.
func (r *Register) Renew(ctx context.Context, n Renewal) (Enrolment, error) {
	if n.Password == "" && !n.Secret {
		return Enrolment{}, fmt.Errorf("renew agent %s: %w", n.Name, ErrNothing)
	}
	return r.replace(ctx, n, "renew", "renewed", func(closed bool) error {
		if closed {
			return ErrClosed
		}
		return nil
	})
}

// Reopen lets a closed agent log in again, with a new password and a new secret: the
// former ones are gone.
func (r *Register) Reopen(ctx context.Context, n Renewal) (Enrolment, error) {
	if n.Password == "" {
		return Enrolment{}, fmt.Errorf("reopen agent %s: %w", n.Name, ErrPassword)
	}
	n.Secret = true
	return r.replace(ctx, n, "reopen", "reopened", func(closed bool) error {
		if !closed {
			return ErrOpen
		}
		return nil
	})
}

// replace gives an agent who may have them a new password and a new secret.
func (r *Register) replace(ctx context.Context, n Renewal, verb, kind string, may func(closed bool) error) (Enrolment, error) {
	what := verb + " agent " + n.Name
	var hash string
	var e Enrolment
	data := map[string]string{}
	if n.Password != "" {
		var err error
		if hash, err = r.hash(ctx, n.Password); err != nil {
			return Enrolment{}, fmt.Errorf("%s: %w", what, err)
		}
		data["password"] = "new"
	}
	if n.Secret {
		key, err := newKey(n.Issuer, n.Name)
		if err != nil {
			return Enrolment{}, fmt.Errorf("%s: %w", what, err)
		}
		e = Enrolment{URI: key.URL(), Secret: key.Secret()}
		data["secret"] = "new"
	}
	err := r.st.Write(ctx, what, func(ctx context.Context, tx *store.Tx) error {
		id, closed, err := find(ctx, tx, n.Name)
		if err == nil {
			err = may(closed)
		}
		if err != nil {
			return err
		}
		// A new secret starts with no step used: its codes are others.
		_, err = tx.ExecContext(ctx, `UPDATE agent SET password = CASE ?1 WHEN '' THEN password ELSE ?1 END,
			last_step = CASE ?2 WHEN '' THEN last_step ELSE 0 END, secret = CASE ?2 WHEN '' THEN secret ELSE ?2 END, closed_at = NULL WHERE id = ?3`, hash, e.Secret, id)
		if err != nil {
			return err
		}
		return end(ctx, tx, id, kind, n.Name, r.clock.Wall(), asked(n.By, data))
	})
	if err != nil {
		return Enrolment{}, err
	}
	r.log.Info("agent "+kind, "agent", n.Name, "by", n.By, "password", hash != "", "secret", n.Secret)
	return e, nil
}

// Close ends an agent's sessions and forgets password and secret. The name stays: what
// the agent wrote goes on to bear it, and nobody else gets it. It returns false when
// the agent was closed already.
func (r *Register) Close(ctx context.Context, name, by string) (changed bool, err error) {
	err = r.st.Write(ctx, "close agent "+name, func(ctx context.Context, tx *store.Tx) error {
		id, closed, err := find(ctx, tx, name)
		if changed = !closed; err != nil || closed {
			return err
		}
		at := r.clock.Wall()
		if _, err := tx.ExecContext(ctx, `UPDATE agent SET password = '', secret = '', closed_at = ? WHERE id = ?`, at.UnixMilli(), id); err != nil {
			return err
		}
		return end(ctx, tx, id, "closed", name, at, asked(by, nil))
	})
	if err != nil {
		return false, err
	}
	if changed {
		r.log.Info("agent closed", "agent", name, "by", by)
	}
	return changed, nil
}

func find(ctx context.Context, tx *store.Tx, name string) (id int64, closed bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT id, closed_at IS NOT NULL FROM agent WHERE name = ?`, name).Scan(&id, &closed)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrUnknown
	}
	return id, closed, err
}

// end ends all sessions of an agent, and notes why.
func end(ctx context.Context, tx *store.Tx, id int64, kind, name string, at time.Time, data map[string]string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM session WHERE agent = ?`, id); err != nil {
		return err
	}
	return note(ctx, tx, kind, name, at, data)
}
