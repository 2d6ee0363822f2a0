package casefile_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"beffroi.dev/pkg/citizen/casefile"
	"beffroi.dev/pkg/citizen/procedure"
	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk/simdisk"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

var contact = casefile.Contact{Name: "Service voirie", Address: "1 place de la Mairie", Phone: "01 02 03 04 05", Email: "voirie@ville.example"}

type hands struct {
	clock.System
	ahead atomic.Int64
}

func (h *hands) Wall() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// rig is a book on a simulated disk, with a role that tests change.
type rig struct {
	*casefile.Book
	disk *simdisk.Disk
	st   *store.Store
	role atomic.Pointer[casefile.Role]
	clk  *hands
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{disk: simdisk.New(8 << 20), clk: &hands{}}
	r.role.Store(&casefile.Role{Serving: true, Copies: 2, Epoch: 7})
	if err := store.Format(t.Context(), r.disk, store.Config{}, quiet); err != nil {
		t.Fatal(err)
	}
	r.open(t)
	t.Cleanup(func() { _ = r.st.Close() })
	return r
}

func (r *rig) open(t testing.TB) {
	t.Helper()
	defs, err := procedure.Shipped()
	if err != nil {
		t.Fatal(err)
	}
	if r.st, err = store.Open(t.Context(), r.disk, store.Config{}, quiet); err != nil {
		t.Fatal(err)
	}
	r.Book, err = casefile.Open(t.Context(), r.st, defs, func() casefile.Role { return *r.role.Load() }, r.clk, quiet)
	if err != nil {
		t.Fatal(err)
	}
}

func filing(token string) casefile.Filing {
	return casefile.Filing{
		Token: token, Slug: "signalement-voirie", Lang: "fr", Channel: "web", Contact: contact,
		Answers: procedure.Answers{"categorie": "eclairage", "lieu": "12 rue de la Poste", "description": "Le lampadaire est éteint"},
	}
}

func (r *rig) count(t testing.TB) int {
	t.Helper()
	l, err := r.List(t.Context(), casefile.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return l.Total
}

func TestTheSameTokenFilesOnce(t *testing.T) {
	r := newRig(t)
	token := casefile.NewToken()
	codes := map[casefile.Code]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			got, err := r.File(t.Context(), filing(token))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			codes[got.Case.Code]++
		})
	}
	wg.Wait()
	if len(codes) != 1 || r.count(t) != 1 {
		t.Errorf("%d codes, %d cases; want one of each", len(codes), r.count(t))
	}
	changed := filing(token)
	changed.Answers["lieu"] = "another place"
	again, err := r.File(t.Context(), changed)
	if err != nil || !again.Again || again.Case.Answers["lieu"] != "12 rue de la Poste" {
		t.Errorf("second filing: %+v, %v; want the first receipt", again, err)
	}
	other, err := r.File(t.Context(), filing(casefile.NewToken()))
	if err != nil || other.Case.Code == again.Case.Code {
		t.Errorf("another token: %v, %v", other.Case.Code, err)
	}
}

// The table of DESIGN 5: what the receipt says for each change of role between
// the start of the work and its end.
func TestTheReceiptSaysBothSitesOnlyWhenItIsTrue(t *testing.T) {
	for _, tc := range []struct {
		name          string
		before, after casefile.Role
		both, refused bool
	}{
		{"two copies throughout", casefile.Role{Serving: true, Copies: 2, Epoch: 1}, casefile.Role{Serving: true, Copies: 2, Epoch: 1}, true, false},
		{"one copy throughout", casefile.Role{Serving: true, Copies: 1, Epoch: 1}, casefile.Role{Serving: true, Copies: 1, Epoch: 1}, false, false},
		{"the twin died meanwhile", casefile.Role{Serving: true, Copies: 2, Epoch: 1}, casefile.Role{Serving: true, Copies: 1, Epoch: 2}, false, false},
		{"the twin came back meanwhile", casefile.Role{Serving: true, Copies: 1, Epoch: 1}, casefile.Role{Serving: true, Copies: 2, Epoch: 2}, false, false},
		{"it went and came back", casefile.Role{Serving: true, Copies: 2, Epoch: 1}, casefile.Role{Serving: true, Copies: 2, Epoch: 3}, false, false},
		{"serving ended meanwhile", casefile.Role{Serving: true, Copies: 2, Epoch: 1}, casefile.Role{Copies: 2, Epoch: 2}, false, true},
		{"not serving at all", casefile.Role{}, casefile.Role{}, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			defs, _ := procedure.Shipped()
			calls := 0
			book, err := casefile.Open(t.Context(), r.st, defs, func() casefile.Role {
				if calls++; calls == 1 {
					return tc.before
				}
				return tc.after
			}, r.clk, quiet)
			if err != nil {
				t.Fatal(err)
			}
			token := casefile.NewToken()
			got, err := book.File(t.Context(), filing(token))
			if refused := errors.Is(err, casefile.ErrNotServing); refused != tc.refused || !refused && err != nil {
				t.Fatalf("got %v; want refused %v", err, tc.refused)
			}
			if got.BothSites != tc.both {
				t.Errorf("both sites %v; want %v", got.BothSites, tc.both)
			}
			if tc.refused && got.Case.Code != "" {
				t.Error("a refused filing came with a receipt")
			}
			if _, err := r.File(t.Context(), filing(token)); err != nil || r.count(t) != 1 {
				t.Errorf("trying again: %v, %d cases; want one", err, r.count(t))
			}
		})
	}
}

func TestAFilingSurvivesACrashExactlyOnce(t *testing.T) {
	r := newRig(t)
	acknowledged := map[string]casefile.Code{}
	for round := range 25 {
		rng := rand.New(rand.NewPCG(uint64(round), 5))
		token := casefile.NewToken()
		if round%2 == 0 { // the power goes somewhere on the way
			r.disk.FailAfter(rng.IntN(6))
		}
		got, err := r.File(t.Context(), filing(token))
		if err == nil {
			acknowledged[token] = got.Case.Code
		}
		_ = r.st.Close()
		r.disk.Repair()
		r.disk.Crash(rng)
		r.open(t)
		again, err := r.File(t.Context(), filing(token)) // the browser tries again
		if err != nil {
			t.Fatal(err)
		}
		if code, ok := acknowledged[token]; ok && (!again.Again || again.Case.Code != code) {
			t.Fatalf("round %d: acknowledged %s, then %s", round, code, again.Case.Code)
		}
		acknowledged[token] = again.Case.Code
	}
	if got := r.count(t); got != len(acknowledged) {
		t.Errorf("%d cases for %d tokens", got, len(acknowledged))
	}
	for token, code := range acknowledged {
		if got, err := r.ByToken(t.Context(), token); err != nil || got.Case.Code != code {
			t.Errorf("token of %s: %v, %v", code, got.Case.Code, err)
		}
	}
}

func TestTheLifeOfACase(t *testing.T) {
	r := newRig(t)
	rec, err := r.File(t.Context(), filing(casefile.NewToken()))
	if err != nil {
		t.Fatal(err)
	}
	id := rec.Case.ID
	for i, s := range []struct {
		kind  casefile.Kind
		words string
		why   string
		want  error
		state casefile.State
	}{
		{casefile.KindReopened, "", "", casefile.ErrStep, casefile.Filed},
		{casefile.KindNoted, "voir avec ENEDIS", "", nil, casefile.Filed},
		{casefile.KindAnswered, "  ", "", casefile.ErrEmpty, casefile.Filed},
		{casefile.KindAnswered, strings.Repeat("x", casefile.MaxWords+1), "", casefile.ErrLong, casefile.Filed},
		{casefile.KindAnswered, "Une équipe passe jeudi.", "", nil, casefile.Answered},
		{casefile.KindClosed, "Réparé.", "because", casefile.ErrEmpty, casefile.Answered},
		{casefile.KindClosed, "Réparé.", "done", nil, casefile.Closed},
		{casefile.KindClosed, "Encore.", "done", casefile.ErrStep, casefile.Closed},
		{casefile.KindReopened, "", "", nil, casefile.Reopened},
	} {
		err := r.Do(t.Context(), casefile.Act{Token: casefile.NewToken(), Case: id, Kind: s.kind, Actor: "martin", Words: s.words, Why: s.why})
		if !errors.Is(err, s.want) {
			t.Fatalf("step %d: %v; want %v", i, err, s.want)
		}
		c, err := r.ByID(t.Context(), id)
		if err != nil || c.State != s.state {
			t.Fatalf("step %d: state %s, %v; want %s", i, c.State, err, s.state)
		}
	}
	c, _ := r.ByID(t.Context(), id)
	public := 0
	for _, e := range c.Events {
		if e.Public() {
			public++
		}
	}
	if len(c.Events) != 5 || public != 4 {
		t.Errorf("%d events, %d public; want 5 and 4", len(c.Events), public)
	}
	if err := r.Do(t.Context(), casefile.Act{Token: casefile.NewToken(), Case: 999, Kind: casefile.KindNoted, Words: "x"}); !errors.Is(err, casefile.ErrNotFound) {
		t.Errorf("a case that is not there: %v", err)
	}
}

func TestAnActHappensOnce(t *testing.T) {
	r := newRig(t)
	rec, _ := r.File(t.Context(), filing(casefile.NewToken()))
	a := casefile.Act{Token: casefile.NewToken(), Case: rec.Case.ID, Kind: casefile.KindAnswered, Actor: "martin", Words: "Bonjour"}
	for range 3 {
		if err := r.Do(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	if c, _ := r.ByID(t.Context(), rec.Case.ID); len(c.Events) != 2 {
		t.Errorf("%d events; want 2", len(c.Events))
	}
}

func TestAChangedHistoryShows(t *testing.T) {
	for _, sql := range []string{
		`UPDATE event SET data = '{"words":"autre"}' WHERE kind = 'answered'`,
		`UPDATE event SET actor = 'dupont' WHERE kind = 'answered'`,
		`UPDATE event SET at = at + 1 WHERE kind = 'filed'`,
		`DELETE FROM event WHERE kind = 'filed'`,
	} {
		r := newRig(t)
		rec, _ := r.File(t.Context(), filing(casefile.NewToken()))
		_ = r.Do(t.Context(), casefile.Act{Token: casefile.NewToken(), Case: rec.Case.ID, Kind: casefile.KindAnswered, Actor: "martin", Words: "Bonjour"})
		err := r.st.Write(t.Context(), "tamper", func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ExecContext(ctx, sql)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.ByID(t.Context(), rec.Case.ID); !errors.Is(err, casefile.ErrChain) {
			t.Errorf("%s: %v; want ErrChain", sql, err)
		}
	}
}

func TestPhotosGoFromFormToCaseOrAreForgotten(t *testing.T) {
	r := newRig(t)
	ref, err := r.Keep(t.Context(), []byte("jpeg one"), 4, 3)
	if err != nil {
		t.Fatal(err)
	}
	lost, err := r.Keep(t.Context(), []byte("jpeg two"), 4, 3)
	if err != nil {
		t.Fatal(err)
	}
	f := filing(casefile.NewToken())
	f.Uploads = map[string]string{"photo": ref}
	rec, err := r.File(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Photo(t.Context(), rec.Case, "photo"); err != nil || string(got) != "jpeg one" {
		t.Errorf("photo of the case: %q, %v", got, err)
	}
	if _, err := r.Upload(t.Context(), ref); !errors.Is(err, casefile.ErrUpload) {
		t.Errorf("filed upload is still one: %v", err)
	}
	f = filing(casefile.NewToken())
	f.Uploads = map[string]string{"photo": ref}
	if _, err := r.File(t.Context(), f); !errors.Is(err, casefile.ErrUpload) {
		t.Errorf("a photo of another case: %v; want ErrUpload", err)
	}
	if n, err := r.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("swept %d young uploads, %v", n, err)
	}
	r.clk.ahead.Store(int64(25 * time.Hour))
	if n, err := r.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("swept %d, %v; want 1", n, err)
	}
	if _, err := r.Upload(t.Context(), lost); !errors.Is(err, casefile.ErrUpload) {
		t.Errorf("swept upload: %v", err)
	}
	if err := r.st.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFilingRefusesWhatTheFormWouldRefuse(t *testing.T) {
	r := newRig(t)
	for _, tc := range []struct {
		name   string
		change func(*casefile.Filing)
		want   error
	}{
		{"an unknown démarche", func(f *casefile.Filing) { f.Slug = "licorne" }, casefile.ErrProcedure},
		{"a token of nobody", func(f *casefile.Filing) { f.Token = "x" }, casefile.ErrToken},
		{"missing answers", func(f *casefile.Filing) { delete(f.Answers, "lieu") }, casefile.ErrAnswers},
		{"an upload that never was", func(f *casefile.Filing) { f.Uploads = map[string]string{"photo": "nothing"} }, casefile.ErrUpload},
	} {
		f := filing(casefile.NewToken())
		tc.change(&f)
		if _, err := r.File(t.Context(), f); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v; want %v", tc.name, err, tc.want)
		}
	}
	if r.count(t) != 0 {
		t.Error("a refused filing left a case")
	}
}

func BenchmarkFile(b *testing.B) {
	r := newRig(b)
	for b.Loop() {
		if _, err := r.File(b.Context(), filing(casefile.NewToken())); err != nil {
			b.Fatal(err)
		}
	}
}
