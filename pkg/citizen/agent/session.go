package agent

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"errors"
	"time"

	"beffroi.dev/pkg/citizen/store"
)

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// Session returns the agent of a session token. A session ends after a day's
// work, or when it was not used for two hours.
func (r *Register) Session(ctx context.Context, token string) (Agent, error) {
	if len(token) != 26 {
		return Agent{}, ErrSession
	}
	hash := sha256.Sum256([]byte(token))
	var a Agent
	var made, seen int64
	err := r.st.Read(ctx, "find session", func(ctx context.Context, tx *store.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT agent.id, name, display, session.made_at, seen_at FROM session JOIN agent ON agent.id = session.agent WHERE hash = ?`, hash[:]).
			Scan(&a.ID, &a.Name, &a.Display, &made, &seen)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return Agent{}, ErrSession
	}
	if err != nil {
		return Agent{}, err
	}
	now := r.clock.Wall()
	if now.Sub(time.UnixMilli(made)) > sessionLife || now.Sub(time.UnixMilli(seen)) > sessionIdle {
		return Agent{}, ErrSession
	}
	if now.Sub(time.UnixMilli(seen)) > seenEvery {
		err = r.st.Write(ctx, "use session", func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE session SET seen_at = ? WHERE hash = ?`, now.UnixMilli(), hash[:])
			return err
		})
	}
	return a, err
}

// Logout ends a session. Ending one that is over already is no error.
func (r *Register) Logout(ctx context.Context, a Agent, token string) error {
	hash := sha256.Sum256([]byte(token))
	return r.st.Write(ctx, "close session", func(ctx context.Context, tx *store.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM session WHERE hash = ?`, hash[:]); err != nil {
			return err
		}
		return note(ctx, tx, "logged out", a.Name, r.clock.Wall(), nil)
	})
}
