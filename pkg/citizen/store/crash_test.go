package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"

	"beffroi.dev/pkg/citizen/store"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

const crashDevice = 3 << 20

// row is one transaction of the workload.
type row struct {
	body   []byte
	blob   []byte // nil: none
	before int    // operations when it began
	after  int    // operations when it was acknowledged
}

func formatted(t testing.TB, size int64) *recorder {
	t.Helper()
	d := newRecorder(size, image{})
	if err := store.Format(t.Context(), d, store.Config{}, quiet); err != nil {
		t.Fatal(err)
	}
	return d
}

func opened(t testing.TB, d *recorder) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), d, store.Config{RunDir: t.TempDir()}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// put files one row: a definition stands in for any row, owned blobs beside it.
func put(ctx context.Context, s *store.Store, i int, r row) error {
	return s.Write(ctx, "put", func(ctx context.Context, tx *store.Tx) error {
		h := sha256.Sum256(r.body)
		if _, err := tx.ExecContext(ctx, `INSERT INTO definition VALUES (?, ?, ?, ?)`, h[:], fmt.Sprintf("%x", sha256.Sum256(r.blob)), i, r.body); err != nil {
			return err
		}
		if r.blob == nil {
			return nil
		}
		_, err := tx.Put(ctx, r.blob, fmt.Sprint(i))
		return err
	})
}

func bytesOf(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// workload runs n transactions, some of which roll back, and returns them. It
// closes and opens the store on the way, so that log resets are covered too.
func workload(t *testing.T, d *recorder, n int) []row {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	s := opened(t, d)
	var rows []row
	for i := range n {
		r := row{body: bytesOf(rng, 16+rng.IntN(9000)), before: d.count()}
		if i%4 == 1 {
			r.blob = bytesOf(rng, 1+rng.IntN(20000))
		}
		if i%9 == 5 {
			boom := errors.New("boom")
			err := s.Write(t.Context(), "roll back", func(ctx context.Context, tx *store.Tx) error {
				if _, err := tx.Put(ctx, bytesOf(rng, 5000), "nobody"); err != nil {
					return err
				}
				return boom
			})
			if !errors.Is(err, boom) {
				t.Fatalf("rolled back transaction: %v", err)
			}
		}
		if i > 8 && i%7 == 6 { // an old file goes, and its room is used again
			old := rows[i-5]
			if old.blob != nil {
				sum := store.Sum(sha256.Sum256(old.blob))
				if err := s.Write(t.Context(), "disown", func(ctx context.Context, tx *store.Tx) error {
					return tx.Disown(ctx, sum, fmt.Sprint(i-5))
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := put(t.Context(), s, i, r); err != nil {
			t.Fatal(err)
		}
		r.after = d.count()
		rows = append(rows, r)
		if i == n/2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = opened(t, d)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// survives opens a crash image taken at operation cut and checks every promise.
func survives(t *testing.T, m image, rows []row, cut int, what string) {
	t.Helper()
	d := newRecorder(crashDevice, m)
	s, err := store.Open(t.Context(), d, store.Config{RunDir: t.TempDir()}, quiet)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer s.Close()
	if err := s.Verify(t.Context()); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	found := map[int]bool{}
	err = s.Read(t.Context(), "list", func(ctx context.Context, tx *store.Tx) error {
		res, err := tx.QueryContext(ctx, `SELECT version, hash FROM definition`)
		if err != nil {
			return err
		}
		defer res.Close()
		for res.Next() {
			var i int
			var h []byte
			if err := res.Scan(&i, &h); err != nil {
				return err
			}
			if want := sha256.Sum256(rows[i].body); store.Sum(h) != store.Sum(want) {
				return fmt.Errorf("row %d has another content", i)
			}
			found[i] = true
		}
		return res.Err()
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for i, r := range rows {
		if r.after <= cut && !found[i] {
			t.Fatalf("%s: acknowledged transaction %d is lost", what, i)
		}
		if found[i] && i > 0 && !found[i-1] {
			t.Fatalf("%s: transaction %d is there without the one before it", what, i)
		}
		if found[i] && r.before > cut {
			t.Fatalf("%s: transaction %d is there before it began", what, i)
		}
	}
}

func TestAPowerCutAtEveryWriteLosesNothingAcknowledged(t *testing.T) {
	d := formatted(t, crashDevice)
	base := d.now
	d = newRecorder(crashDevice, base)
	n := 40
	if testing.Short() {
		n = 14
	}
	rows := workload(t, d, n)
	c := newCutter(base, d.ops)
	for cut := range len(d.ops) + 1 {
		c.advance(cut)
		survives(t, c.all(), rows, cut, fmt.Sprintf("cut before operation %d", cut))
	}
	t.Logf("%d operations, %d transactions, every prefix recovered", len(d.ops), len(rows))
}

func TestTornReorderedAndDroppedWritesLoseNothingAcknowledged(t *testing.T) {
	d := formatted(t, crashDevice)
	base := d.now
	d = newRecorder(crashDevice, base)
	n, images := 40, 3000
	if testing.Short() {
		n, images = 14, 300
	}
	rows := workload(t, d, n)
	var busy []int // cuts at which something is unsynced; elsewhere there is nothing to lose
	for i := 1; i <= len(d.ops); i++ {
		if d.ops[i-1].data != nil {
			busy = append(busy, i)
		}
	}
	c := newCutter(base, d.ops)
	done := 0
	for i, cut := range busy {
		c.advance(cut)
		for ; done < images*(i+1)/len(busy); done++ {
			seed := uint64(done)
			survives(t, c.some(rand.New(rand.NewPCG(seed, 1))), rows, cut, fmt.Sprintf("seed %d at operation %d", seed, cut))
		}
	}
	t.Logf("%d operations, %d images", len(d.ops), done)
}

func TestACrashWhileFormattingLeavesTheVolumeBlankOrWhole(t *testing.T) {
	d := formatted(t, crashDevice)
	c := newCutter(image{}, d.ops)
	blank := 0
	for cut := range len(d.ops) + 1 {
		c.advance(cut)
		for seed := range uint64(4) {
			r := newRecorder(crashDevice, c.some(rand.New(rand.NewPCG(seed, uint64(cut)))))
			s, err := store.Open(t.Context(), r, store.Config{RunDir: t.TempDir()}, quiet)
			if errors.Is(err, store.ErrBlank) {
				blank++
				continue
			}
			if err != nil {
				t.Fatalf("cut %d seed %d: %v", cut, seed, err)
			}
			if err := s.Verify(t.Context()); err != nil {
				t.Fatalf("cut %d seed %d: %v", cut, seed, err)
			}
			_ = s.Close()
		}
	}
	if blank == 0 {
		t.Error("no cut left the volume unformatted: the test proves nothing")
	}
}
