package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
)

//go:embed schema/*.sql
var schema embed.FS

// migrate brings the schema up to date, one file a version, each in one
// transaction with its version number.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Glob(schema, "schema/*.sql")
	if err != nil {
		return fmt.Errorf("list schema: %w", err)
	}
	slices.Sort(files)
	var have int
	if err := s.write.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&have); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if have > len(files) {
		return fmt.Errorf("%w: schema %d, this program knows up to %d", ErrNewer, have, len(files))
	}
	for i := have; i < len(files); i++ {
		text, err := schema.ReadFile(files[i])
		if err != nil {
			return fmt.Errorf("read schema: %w", err)
		}
		err = s.Write(ctx, "migrate to "+files[i], func(ctx context.Context, tx *Tx) error {
			_, err := tx.ExecContext(ctx, fmt.Sprintf("%s;\nPRAGMA user_version = %d", text, i+1))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
