package casefile

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"beffroi.dev/pkg/citizen/procedure"
	"beffroi.dev/pkg/citizen/store"
)

// searchText folds what agents search for: no case, no accents.
func searchText(a procedure.Answers) string {
	var b strings.Builder
	for _, v := range a {
		b.WriteString(v)
		b.WriteByte('\n')
	}
	return fold(b.String())
}

func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKD.String(s))
}

// appendEvent adds one link to the chain of a case.
func appendEvent(ctx context.Context, tx *store.Tx, id int64, e Event, p payload, token string) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	e.data = string(data)
	var prev []byte
	err = tx.QueryRowContext(ctx, `SELECT seq, hash FROM event WHERE casefile = ? ORDER BY seq DESC LIMIT 1`, id).Scan(&e.Seq, &prev)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("find last event: %w", err)
	}
	if len(prev) == len(e.prev) {
		e.prev = store.Sum(prev)
	}
	e.Seq++
	e.At = e.At.Truncate(time.Millisecond)
	e.seal(id)
	var once any // NULL: not an act of a person with a form
	if token != "" {
		once = hashToken(token)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO event (casefile, seq, kind, actor, at, data, token, prev, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id, e.Seq, string(e.Kind), e.Actor, e.At.UnixMilli(), e.data, once, e.prev[:], e.hash[:])
	if err != nil {
		return fmt.Errorf("insert event: %w", err)
	}
	return nil
}

// Act is what an agent does to a case.
type Act struct {
	Token string // happens once
	Case  int64
	Kind  Kind
	Actor string
	Words string
	Why   string // for a closing
}

// Do performs an act. An act whose token happened before is done already.
func (b *Book) Do(ctx context.Context, a Act) error {
	a.Words = strings.TrimSpace(strings.ReplaceAll(a.Words, "\r\n", "\n"))
	switch {
	case CheckToken(a.Token) != nil:
		return fmt.Errorf("act on case %d: %w", a.Case, ErrToken)
	case a.Words == "" && a.Kind != KindReopened:
		return fmt.Errorf("act on case %d: %w", a.Case, ErrEmpty)
	case len(a.Words) > MaxWords:
		return fmt.Errorf("act on case %d: %w", a.Case, ErrLong)
	case a.Kind == KindClosed && !slices.Contains(Reasons, a.Why):
		return fmt.Errorf("act on case %d: %w", a.Case, ErrEmpty)
	case a.Kind != KindClosed:
		a.Why = ""
	}
	var from, to State
	_, _, err := b.serve(func(Role) error {
		return b.st.Write(ctx, "act on a case", func(ctx context.Context, tx *store.Tx) error {
			var done bool
			if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM event WHERE token = ?)`, hashToken(a.Token)).Scan(&done); err != nil || done {
				return err
			}
			err := tx.QueryRowContext(ctx, `SELECT state FROM casefile WHERE id = ?`, a.Case).Scan(&from)
			if errors.Is(err, sql.ErrNoRows) {
				return ErrNotFound
			}
			if err != nil {
				return err
			}
			if to, err = next(from, a.Kind); err != nil {
				return err
			}
			at := b.clock.Wall()
			if err := appendEvent(ctx, tx, a.Case, Event{Kind: a.Kind, Actor: a.Actor, At: at}, payload{Words: a.Words, Why: a.Why}, a.Token); err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `UPDATE casefile SET state = ?, changed_at = ? WHERE id = ?`, string(to), at.UnixMilli(), a.Case)
			return err
		})
	})
	if err != nil {
		return err
	}
	b.log.Info("case changed", "case", a.Case, "act", string(a.Kind), "old", string(from), "new", string(to), "agent", a.Actor)
	return nil
}

// load reads a case whole and proves its chain.
func load(ctx context.Context, tx *store.Tx, id int64) (Case, error) {
	c := Case{ID: id}
	var answers, contact, code string
	var def []byte
	var filed, changed int64
	err := tx.QueryRowContext(ctx, `SELECT code, definition, slug, category, state, lang, answers, contact, filed_at, changed_at FROM casefile WHERE id = ?`, id).
		Scan(&code, &def, &c.Slug, &c.Category, &c.State, &c.Lang, &answers, &contact, &filed, &changed)
	if errors.Is(err, sql.ErrNoRows) {
		return c, ErrNotFound
	}
	if err != nil {
		return c, fmt.Errorf("read case: %w", err)
	}
	c.Code, c.Definition = Code(code), procedure.Hash(def)
	c.FiledAt, c.ChangedAt = time.UnixMilli(filed), time.UnixMilli(changed)
	if err := errors.Join(json.Unmarshal([]byte(answers), &c.Answers), json.Unmarshal([]byte(contact), &c.Contact)); err != nil {
		return c, fmt.Errorf("read case %d: %w", id, err)
	}
	if c.Files, err = loadFiles(ctx, tx, id); err != nil {
		return c, err
	}
	if c.Events, err = loadEvents(ctx, tx, id); err != nil {
		return c, err
	}
	return c, c.checkChain()
}

func loadEvents(ctx context.Context, tx *store.Tx, id int64) ([]Event, error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, kind, actor, at, data, prev, hash FROM event WHERE casefile = ? ORDER BY seq`, id)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	var out []Event
	for rows.Next() {
		var e Event
		var at int64
		var prev, hash []byte
		var p payload
		if err := rows.Scan(&e.Seq, &e.Kind, &e.Actor, &at, &e.data, &prev, &hash); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		if err := json.Unmarshal([]byte(e.data), &p); err != nil {
			return nil, fmt.Errorf("read event %d of case %d: %w", e.Seq, id, err)
		}
		e.At, e.prev, e.hash, e.Words, e.Why = time.UnixMilli(at), store.Sum(prev), store.Sum(hash), p.Words, p.Why
		out = append(out, e)
	}
	return out, rows.Err()
}

func loadFiles(ctx context.Context, tx *store.Tx, id int64) ([]File, error) {
	rows, err := tx.QueryContext(ctx, `SELECT field, sum, width, height FROM case_file WHERE casefile = ? ORDER BY field`, id)
	if err != nil {
		return nil, fmt.Errorf("read files: %w", err)
	}
	defer rows.Close()
	var out []File
	for rows.Next() {
		var f File
		var sum []byte
		if err := rows.Scan(&f.Field, &sum, &f.Width, &f.Height); err != nil {
			return nil, fmt.Errorf("read files: %w", err)
		}
		f.Sum = store.Sum(sum)
		out = append(out, f)
	}
	return out, rows.Err()
}
