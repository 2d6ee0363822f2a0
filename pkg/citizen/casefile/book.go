package casefile

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"beffroi.dev/pkg/citizen/procedure"
	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/clock"
)

// uploadLife is how long a photo waits for its form: a day, so that a form
// begun in the evening can be sent in the morning.
const uploadLife = 24 * time.Hour

// Book is all cases of a store.
type Book struct {
	st    *store.Store
	role  func() Role
	clock clock.Clock
	log   *slog.Logger
	defs  map[string]*procedure.Definition // current, by slug
}

// Open makes the book of a store and records the current definitions in it, so
// that the cases filed under them can be read for as long as they are kept.
func Open(ctx context.Context, st *store.Store, defs []*procedure.Definition, role func() Role, clk clock.Clock, log *slog.Logger) (*Book, error) {
	b := &Book{st: st, role: role, clock: clk, log: log.With("room", "citizen/casefile"), defs: map[string]*procedure.Definition{}}
	missing := false
	for _, d := range defs {
		b.defs[d.Slug] = d
		err := st.Read(ctx, "look for definition", func(ctx context.Context, tx *store.Tx) error {
			var known bool
			err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM definition WHERE hash = ?)`, d.Hash[:]).Scan(&known)
			missing = missing || !known
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if !missing { // the usual takeover writes nothing
		return b, nil
	}
	err := st.Write(ctx, "record definitions", func(ctx context.Context, tx *store.Tx) error {
		for _, d := range defs {
			_, err := tx.ExecContext(ctx, `INSERT INTO definition (hash, slug, version, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`, d.Hash[:], d.Slug, d.Version, d.Body)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Definitions returns the current definition of each démarche.
func (b *Book) Definitions() map[string]*procedure.Definition { return b.defs }

// Role returns what this node is now.
func (b *Book) Role() Role { return b.role() }

// serve runs f between two looks at the role, and refuses to answer when this
// node did not serve throughout.
func (b *Book) serve(f func(before Role) error) (before, after Role, err error) {
	before = b.role()
	if !before.Serving {
		return before, before, fmt.Errorf("%w: %s", ErrNotServing, before.Reason)
	}
	err = f(before)
	after = b.role()
	if !after.Serving || after.Epoch != before.Epoch && err != nil {
		return before, after, errors.Join(fmt.Errorf("%w: %s", ErrNotServing, after.Reason), err)
	}
	return before, after, err
}

// Receipt is the proof of filing.
type Receipt struct {
	Case      Case
	BothSites bool // the rule of the receipt held when it was made
	Again     bool // the token had filed before
}

// Filing is what a citizen sends.
type Filing struct {
	Token   string
	Slug    string
	Lang    string
	Channel string // web, counter, phone, kiosk
	Answers procedure.Answers
	Contact Contact           // of the service in charge
	Uploads map[string]string // photo field -> upload reference
}

// Filing errors that a form can show.
var (
	// ErrProcedure is returned for a démarche that does not exist.
	ErrProcedure = errors.New("no such démarche")
	// ErrAnswers is returned when the answers break the rules of the definition.
	ErrAnswers = errors.New("the answers do not fit the form")
	// ErrUpload is returned when an upload is gone or never was.
	ErrUpload = errors.New("the photo is not kept any more")
)

// File files a case, once for each token. The answers must have been cleaned
// and checked; they are checked again here, because this is the door.
func (b *Book) File(ctx context.Context, f Filing) (Receipt, error) {
	d, ok := b.defs[f.Slug]
	if !ok {
		return Receipt{}, fmt.Errorf("file %q: %w", f.Slug, ErrProcedure)
	}
	if err := CheckToken(f.Token); err != nil {
		return Receipt{}, fmt.Errorf("file: %w", err)
	}
	if faults := d.Check(f.Answers, func(field string) bool { return f.Uploads[field] != "" }); len(faults) > 0 {
		return Receipt{}, fmt.Errorf("file: %w: %d fields", ErrAnswers, len(faults))
	}
	var r Receipt
	before, after, err := b.serve(func(now Role) error {
		return b.st.Write(ctx, "file a case", func(ctx context.Context, tx *store.Tx) error {
			id, err := findToken(ctx, tx, f.Token)
			if r.Again = err == nil; !r.Again {
				if !errors.Is(err, ErrNotFound) {
					return err
				}
				if id, err = b.insert(ctx, tx, d, f, now); err != nil {
					return err
				}
			}
			r.Case, err = load(ctx, tx, id)
			return err
		})
	})
	if err != nil {
		return Receipt{}, err
	}
	r.BothSites = bothSites(before, after)
	b.log.Info("case filed", "number", r.Case.Number(), "procedure", f.Slug, "again", r.Again, "copies", after.Copies, "epoch", after.Epoch)
	return r, nil
}

func hashToken(token string) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}

func findToken(ctx context.Context, tx *store.Tx, token string) (id int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT id FROM casefile WHERE token = ?`, hashToken(token)).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return id, err
}

// insert writes the case, its files and its first event.
func (b *Book) insert(ctx context.Context, tx *store.Tx, d *procedure.Definition, f Filing, now Role) (int64, error) {
	at := b.clock.Wall()
	answers, err := json.Marshal(f.Answers)
	if err != nil {
		return 0, fmt.Errorf("write answers: %w", err)
	}
	contact, err := json.Marshal(f.Contact)
	if err != nil {
		return 0, fmt.Errorf("write contact: %w", err)
	}
	code := newCode()
	res, err := tx.ExecContext(ctx, `INSERT INTO casefile
		(code, token, definition, slug, category, state, channel, lang, answers, contact, search, filed_at, changed_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		string(code), hashToken(f.Token), d.Hash[:], d.Slug, f.Answers[d.Category().ID], string(Filed), f.Channel, f.Lang,
		string(answers), string(contact), searchText(f.Answers), at.UnixMilli(), at.UnixMilli())
	if err != nil {
		return 0, fmt.Errorf("insert case: %w", err)
	}
	id, err := res.LastInsertId()
	if err != nil {
		return 0, fmt.Errorf("insert case: %w", err)
	}
	var files []File
	for field, ref := range f.Uploads {
		file, err := attach(ctx, tx, id, field, ref)
		if err != nil {
			return 0, err
		}
		files = append(files, file)
	}
	p := payload{Epoch: now.Epoch, Copies: now.Copies, Digest: digest(d.Slug, d.Hash, f.Answers, files)}
	return id, appendEvent(ctx, tx, id, Event{Kind: KindFiled, Actor: "citizen", At: at}, p, "")
}
