package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"beffroi.dev/pkg/disk"
)

// MaxBlob is the largest file kept: an upload is bounded at 10 MB before it is
// re-encoded, and nothing else comes near.
const MaxBlob = 16 << 20

// ErrNoBlob is returned for a file that is not kept.
var ErrNoBlob = errors.New("no such file")

// Sum names a file by its content.
type Sum [sha256.Size]byte

// String prints the name in hexadecimal.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// Tx is a transaction. It is valid only inside the function it was given to.
type Tx struct {
	*sql.Tx
	s     *Store
	added []extent // given back if the transaction does not commit
	gone  []extent // given back once it has committed
}

// Write runs f in a transaction. When Write returns nil, what f did is durable.
// When it returns an error, nothing of it is visible; whether it is durable is
// unknown only if the store has failed. Cancelling ctx stops f, not the commit.
func (s *Store) Write(ctx context.Context, what string, f func(context.Context, *Tx) error) error {
	if err := s.users.enter(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer s.users.leave()
	if err := s.v.check(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	inner, err := s.write.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return s.explain(what, err)
	}
	tx := &Tx{Tx: inner, s: s}
	decided := false
	defer func() {
		if !decided { // an error or a panic of f
			_ = inner.Rollback()
			for _, e := range tx.added {
				s.v.space.free(e)
			}
		}
	}()
	if err := s.promise(ctx, inner); err != nil {
		return s.explain(what, err)
	}
	if err := f(ctx, tx); err != nil {
		return s.explain(what, err)
	}
	// From here the outcome may be known only after a recovery. A failed commit
	// keeps its ranges until then: a power cut might still bring its rows back.
	decided = true
	if err := inner.Commit(); err != nil {
		return s.explain(what, err)
	}
	for _, e := range tx.gone {
		s.v.space.free(e)
	}
	return nil
}

// promise keeps room ahead of the database, so that it is the transaction that
// is refused when the volume is full, never the checkpoint after it.
func (s *Store) promise(ctx context.Context, tx *sql.Tx) error {
	var pages int64
	if err := tx.QueryRowContext(ctx, `PRAGMA page_count`).Scan(&pages); err != nil {
		return fmt.Errorf("count pages: %w", err)
	}
	limit := s.v.space.promise(pages*disk.BlockSize + s.margin)
	_, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA max_page_count = %d`, limit/disk.BlockSize))
	return err
}

// Read runs f in a transaction that sees one state of the database throughout.
func (s *Store) Read(ctx context.Context, what string, f func(context.Context, *Tx) error) error {
	if err := s.users.enter(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer s.users.leave()
	if err := s.v.check(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	inner, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return s.explain(what, err)
	}
	defer func() { _ = inner.Rollback() }()
	if err := f(ctx, &Tx{Tx: inner, s: s}); err != nil {
		return s.explain(what, err)
	}
	return nil
}

// explain says what was being done, and finds the cause under SQLite's code.
func (s *Store) explain(what string, err error) error {
	if failed := s.v.check(); failed != nil && !errors.Is(err, disk.ErrFailed) {
		return fmt.Errorf("%s: %w (%w)", what, failed, err)
	}
	if errors.Is(err, sqlite3.FULL) && !errors.Is(err, disk.ErrNoSpace) {
		return fmt.Errorf("%s: %w: %w", what, disk.ErrNoSpace, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Put keeps p for owner. The bytes are durable before Put returns, so a
// committed row never names a file that a power cut took.
func (t *Tx) Put(ctx context.Context, p []byte, owner string) (Sum, error) {
	sum := Sum(sha256.Sum256(p))
	if len(p) > MaxBlob {
		return sum, fmt.Errorf("keep a file of %d bytes: more than %d", len(p), MaxBlob)
	}
	var known bool
	if err := t.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM blob WHERE sum = ?)`, sum[:]).Scan(&known); err != nil {
		return sum, fmt.Errorf("look for a file: %w", err)
	}
	if !known {
		if err := t.place(ctx, sum, p); err != nil {
			return sum, err
		}
	}
	return sum, t.Own(ctx, sum, owner)
}

func (t *Tx) place(ctx context.Context, sum Sum, p []byte) error {
	e, err := t.s.v.space.alloc(int64(len(p)))
	if err != nil {
		return err
	}
	t.added = append(t.added, e)
	buf := disk.Aligned(e.len)
	copy(buf, p)
	if err := t.s.v.write(buf, t.s.v.super.PoolOffset+e.off); err != nil {
		return fmt.Errorf("write a file: %w", err)
	}
	if err := t.s.v.sync(); err != nil {
		return fmt.Errorf("write a file: %w", err)
	}
	if _, err := t.ExecContext(ctx, `INSERT INTO blob (sum, off, size) VALUES (?, ?, ?)`, sum[:], e.off, len(p)); err != nil {
		return fmt.Errorf("record a file: %w", err)
	}
	return nil
}

// Own adds an owner to a file that is kept already.
func (t *Tx) Own(ctx context.Context, sum Sum, owner string) error {
	if _, err := t.ExecContext(ctx, `INSERT INTO blob_owner (sum, owner) VALUES (?, ?) ON CONFLICT DO NOTHING`, sum[:], owner); err != nil {
		return fmt.Errorf("own a file: %w", err)
	}
	return nil
}

// Disown takes an owner away; a file without owner goes, and its room is free
// once the transaction has committed.
func (t *Tx) Disown(ctx context.Context, sum Sum, owner string) error {
	if _, err := t.ExecContext(ctx, `DELETE FROM blob_owner WHERE sum = ? AND owner = ?`, sum[:], owner); err != nil {
		return fmt.Errorf("disown a file: %w", err)
	}
	var e extent
	err := t.QueryRowContext(ctx, `DELETE FROM blob WHERE sum = ?1
		AND NOT EXISTS (SELECT 1 FROM blob_owner WHERE sum = ?1) RETURNING off, size`, sum[:]).Scan(&e.off, &e.len)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove a file: %w", err)
	}
	e.len = blocks(max(e.len, 1))
	t.gone = append(t.gone, e)
	return nil
}

// Blob returns a file, checked against its name.
func (s *Store) Blob(ctx context.Context, sum Sum) ([]byte, error) {
	var last error
	for range 2 { // a file removed between lookup and read is looked up once more
		var off, size int64
		err := s.Read(ctx, "find file "+sum.String(), func(ctx context.Context, tx *Tx) error {
			return tx.QueryRowContext(ctx, `SELECT off, size FROM blob WHERE sum = ?`, sum[:]).Scan(&off, &size)
		})
		if errors.Is(err, sql.ErrNoRows) {
			return nil, fmt.Errorf("file %s: %w", sum, ErrNoBlob)
		}
		if err != nil {
			return nil, err
		}
		buf := disk.Aligned(blocks(max(size, 1)))
		if err := s.v.read(buf, s.v.super.PoolOffset+off); err != nil {
			return nil, fmt.Errorf("file %s: %w", sum, err)
		}
		if buf = buf[:size]; sha256.Sum256(buf) == sum {
			return buf, nil
		}
		last = fmt.Errorf("file %s: %w", sum, disk.ErrCorrupt)
	}
	return nil, last
}

// Verify reads everything: the database's own check and every file against its
// name. It is slow and meant for tests, rehearsals and a suspicious operator.
func (s *Store) Verify(ctx context.Context) error {
	var verdict string
	var sums []Sum
	err := s.Read(ctx, "verify", func(ctx context.Context, tx *Tx) error {
		if err := tx.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT sum FROM blob`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var b []byte
			if err := rows.Scan(&b); err != nil {
				return err
			}
			sums = append(sums, Sum(b))
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("verify: %w: %s", ErrDamaged, verdict)
	}
	for _, sum := range sums {
		if _, err := s.Blob(ctx, sum); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
	}
	return nil
}
