package casefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"beffroi.dev/pkg/citizen/procedure"
	"beffroi.dev/pkg/citizen/store"
)

// ByCode returns the receipt of the case with a tracking code, as true now: it
// says "on both sites" by the same rule as the first one.
func (b *Book) ByCode(ctx context.Context, code Code) (Receipt, error) {
	return b.find(ctx, `SELECT id FROM casefile WHERE code = ?`, string(code))
}

// ByID returns a case for an agent.
func (b *Book) ByID(ctx context.Context, id int64) (Case, error) {
	r, err := b.find(ctx, `SELECT id FROM casefile WHERE id = ?`, id)
	return r.Case, err
}

// ByToken returns the receipt of the case that a form token filed, if it did.
func (b *Book) ByToken(ctx context.Context, token string) (Receipt, error) {
	return b.find(ctx, `SELECT id FROM casefile WHERE token = ?`, hashToken(token))
}

func (b *Book) find(ctx context.Context, query string, arg any) (Receipt, error) {
	var r Receipt
	before, after, err := b.serve(func(Role) error {
		return b.st.Read(ctx, "find a case", func(ctx context.Context, tx *store.Tx) error {
			var id int64
			err := tx.QueryRowContext(ctx, query, arg).Scan(&id)
			if errors.Is(err, sql.ErrNoRows) {
				return ErrNotFound
			}
			if err != nil {
				return err
			}
			r.Case, err = load(ctx, tx, id)
			return err
		})
	})
	if err != nil {
		return Receipt{}, err
	}
	r.BothSites = bothSites(before, after)
	return r, nil
}

// Photo returns the bytes of an attached photo.
func (b *Book) Photo(ctx context.Context, c Case, field string) ([]byte, error) {
	for _, f := range c.Files {
		if f.Field == field {
			return b.st.Blob(ctx, f.Sum)
		}
	}
	return nil, store.ErrNoBlob
}

// Definition returns the definition that a case was filed under.
func (b *Book) Definition(ctx context.Context, c Case) (*procedure.Definition, error) {
	if d, ok := b.defs[c.Slug]; ok && d.Hash == c.Definition {
		return d, nil
	}
	var body []byte
	err := b.st.Read(ctx, "read definition", func(ctx context.Context, tx *store.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT body FROM definition WHERE hash = ?`, c.Definition[:]).Scan(&body)
	})
	if err != nil {
		return nil, err
	}
	d, err := procedure.Load(body)
	if err != nil {
		return nil, fmt.Errorf("definition of case %d: %w", c.ID, err)
	}
	return d, nil
}

// Filter selects cases for the agents' list.
type Filter struct {
	State    State  // empty: every state
	Category string // empty: every category
	Words    string // each must occur somewhere in the answers, or be the number
	Page     int    // from 0
}

// PageSize is how many cases a page of the list shows.
const PageSize = 25

// Summary is one line of the list.
type Summary struct {
	ID       int64
	Slug     string
	Category string
	State    State
	Place    string
	Excerpt  string
	Photos   int
	FiledAt  time.Time
}

// Number is what agents call the case.
func (s Summary) Number() string { return Case{ID: s.ID, FiledAt: s.FiledAt}.Number() }

// List is one page of cases with the numbers around it.
type List struct {
	Cases  []Summary
	Total  int           // that match
	Counts map[State]int // of all cases
}

// where turns a filter into SQL. Every value travels as a parameter.
func (f Filter) where() (string, []any) {
	terms, args := []string{"1"}, []any{}
	add := func(term string, v any) { terms, args = append(terms, term), append(args, v) }
	if f.State != "" {
		add("state = ?", string(f.State))
	}
	if f.Category != "" {
		add("category = ?", f.Category)
	}
	words := strings.Fields(fold(f.Words))
	for _, w := range words[:min(len(words), 8)] {
		var year, id int64
		if n, _ := fmt.Sscanf(w, "%d-%d", &year, &id); n == 2 {
			add("id = ?", id)
			continue
		}
		add(`search LIKE ? ESCAPE '\'`, "%"+strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(w)+"%")
	}
	return strings.Join(terms, " AND "), args
}

// listOrder is the order of the list, which has an index (store/schema/0003).
const listOrder = `CASE state WHEN 'filed' THEN 0 WHEN 'reopened' THEN 0 WHEN 'answered' THEN 1 ELSE 2 END, filed_at DESC, id DESC`

// pageQuery reads the lines of a page.
func pageQuery(where string) string {
	return `SELECT id, slug, category, state, filed_at, coalesce(answers ->> 'lieu', ''), coalesce(answers ->> 'description', ''),
		(SELECT count(*) FROM case_file WHERE casefile = id) FROM casefile WHERE ` + where + ` ORDER BY ` + listOrder + ` LIMIT ? OFFSET ?`
}

// List returns a page of cases: what waits for an agent first, new before old.
func (b *Book) List(ctx context.Context, f Filter) (List, error) {
	l := List{Counts: map[State]int{}}
	where, args := f.where()
	_, _, err := b.serve(func(Role) error {
		return b.st.Read(ctx, "list cases", func(ctx context.Context, tx *store.Tx) error {
			if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM casefile WHERE `+where, args...).Scan(&l.Total); err != nil {
				return err
			}
			if err := l.count(ctx, tx); err != nil {
				return err
			}
			rows, err := tx.QueryContext(ctx, pageQuery(where), append(args, PageSize, max(0, f.Page)*PageSize)...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var s Summary
				var at int64
				if err := rows.Scan(&s.ID, &s.Slug, &s.Category, &s.State, &at, &s.Place, &s.Excerpt, &s.Photos); err != nil {
					return err
				}
				s.FiledAt = time.UnixMilli(at)
				l.Cases = append(l.Cases, s)
			}
			return rows.Err()
		})
	})
	return l, err
}

func (l *List) count(ctx context.Context, tx *store.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT state, count(*) FROM casefile GROUP BY state`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var s State
		var n int
		if err := rows.Scan(&s, &n); err != nil {
			return err
		}
		l.Counts[s] = n
	}
	return rows.Err()
}
