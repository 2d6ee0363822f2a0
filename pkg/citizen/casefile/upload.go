package casefile

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"beffroi.dev/pkg/citizen/store"
)

// sweepBatch bounds one round of removal, so that a round never holds the
// writer for long.
const sweepBatch = 64

func uploadOwner(ref string) string       { return "upload:" + ref }
func caseOwner(id int64, f string) string { return fmt.Sprintf("case:%d:%s", id, f) }

// Keep stores a photo for a form that is not filed yet, and returns the
// reference that the form carries.
func (b *Book) Keep(ctx context.Context, jpeg []byte, width, height int) (string, error) {
	ref := strings.ToLower(rand.Text())
	_, _, err := b.serve(func(Role) error {
		return b.st.Write(ctx, "keep a photo", func(ctx context.Context, tx *store.Tx) error {
			sum, err := tx.Put(ctx, jpeg, uploadOwner(ref))
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `INSERT INTO upload (ref, sum, width, height, made_at) VALUES (?, ?, ?, ?, ?)`,
				ref, sum[:], width, height, b.clock.Wall().UnixMilli())
			return err
		})
	})
	return ref, err
}

// Upload returns a photo that waits for its form.
func (b *Book) Upload(ctx context.Context, ref string) ([]byte, error) {
	var sum []byte
	err := b.st.Read(ctx, "find upload", func(ctx context.Context, tx *store.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT sum FROM upload WHERE ref = ?`, ref).Scan(&sum)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrUpload
	}
	if err != nil {
		return nil, err
	}
	return b.st.Blob(ctx, store.Sum(sum))
}

// attach moves a photo from its form to its case.
func attach(ctx context.Context, tx *store.Tx, id int64, field, ref string) (File, error) {
	f := File{Field: field}
	var sum []byte
	err := tx.QueryRowContext(ctx, `DELETE FROM upload WHERE ref = ? RETURNING sum, width, height`, ref).Scan(&sum, &f.Width, &f.Height)
	if errors.Is(err, sql.ErrNoRows) {
		return f, ErrUpload
	}
	if err != nil {
		return f, fmt.Errorf("find upload: %w", err)
	}
	f.Sum = store.Sum(sum)
	if err := tx.Own(ctx, f.Sum, caseOwner(id, field)); err != nil {
		return f, err
	}
	if err := tx.Disown(ctx, f.Sum, uploadOwner(ref)); err != nil {
		return f, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO case_file (casefile, field, sum, width, height) VALUES (?, ?, ?, ?, ?)`, id, field, sum, f.Width, f.Height)
	if err != nil {
		return f, fmt.Errorf("attach file: %w", err)
	}
	return f, nil
}

// Sweep removes uploads whose form was not filed within a day, and returns how
// many. The caller runs it now and then, on the serving node only.
func (b *Book) Sweep(ctx context.Context) (int, error) {
	limit := b.clock.Wall().Add(-uploadLife).UnixMilli()
	type old struct {
		ref string
		sum []byte
	}
	var gone []old
	err := b.st.Read(ctx, "find old uploads", func(ctx context.Context, tx *store.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT ref, sum FROM upload WHERE made_at < ? LIMIT ?`, limit, sweepBatch)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var o old
			if err := rows.Scan(&o.ref, &o.sum); err != nil {
				return err
			}
			gone = append(gone, o)
		}
		return rows.Err()
	})
	if err != nil || len(gone) == 0 {
		return 0, err
	}
	_, _, err = b.serve(func(Role) error {
		return b.st.Write(ctx, "remove old uploads", func(ctx context.Context, tx *store.Tx) error {
			for _, o := range gone {
				res, err := tx.ExecContext(ctx, `DELETE FROM upload WHERE ref = ?`, o.ref)
				if err != nil {
					return err
				}
				if n, _ := res.RowsAffected(); n == 0 {
					continue // filed in the meantime
				}
				if err := tx.Disown(ctx, store.Sum(o.sum), uploadOwner(o.ref)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return len(gone), err
}
