package agent

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"beffroi.dev/pkg/citizen/store"
)

// ErrChain is returned when the audit trail does not hold together.
var ErrChain = errors.New("the audit trail was changed")

// note adds a line to the audit trail, in the transaction of what it tells.
func note(ctx context.Context, tx *store.Tx, kind, actor string, at time.Time, data map[string]string) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("write audit line: %w", err)
	}
	var seq int64
	prev := make([]byte, sha256.Size)
	err = tx.QueryRowContext(ctx, `SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1`).Scan(&seq, &prev)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("find last audit line: %w", err)
	}
	seq++
	hash := sealLine(prev, seq, at.UnixMilli(), kind, actor, string(text))
	_, err = tx.ExecContext(ctx, `INSERT INTO audit (seq, kind, actor, at, data, prev, hash) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		seq, kind, actor, at.UnixMilli(), string(text), prev, hash)
	if err != nil {
		return fmt.Errorf("insert audit line: %w", err)
	}
	return nil
}

func sealLine(prev []byte, seq, at int64, fields ...string) []byte {
	h := sha256.New()
	h.Write(prev)
	_ = binary.Write(h, binary.LittleEndian, [2]int64{seq, at}) // a hash never fails
	for _, f := range fields {
		_ = binary.Write(h, binary.LittleEndian, int64(len(f)))
		h.Write([]byte(f))
	}
	return h.Sum(nil)
}

// CheckAudit proves the whole audit trail and returns its length.
func (r *Register) CheckAudit(ctx context.Context) (int, error) {
	n := 0
	err := r.st.Read(ctx, "check audit trail", func(ctx context.Context, tx *store.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT seq, kind, actor, at, data, prev, hash FROM audit ORDER BY seq`)
		if err != nil {
			return err
		}
		defer rows.Close()
		last := make([]byte, sha256.Size)
		for rows.Next() {
			var seq, at int64
			var kind, actor, data string
			var prev, hash []byte
			if err := rows.Scan(&seq, &kind, &actor, &at, &data, &prev, &hash); err != nil {
				return err
			}
			if n++; seq != int64(n) || string(prev) != string(last) || string(hash) != string(sealLine(prev, seq, at, kind, actor, data)) {
				return fmt.Errorf("line %d: %w", n, ErrChain)
			}
			last = hash
		}
		return rows.Err()
	})
	return n, err
}
