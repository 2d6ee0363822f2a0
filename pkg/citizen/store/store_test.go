package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"beffroi.dev/pkg/citizen/store"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

func count(t *testing.T, s *store.Store) (n int) {
	t.Helper()
	err := s.Read(t.Context(), "count", func(ctx context.Context, tx *store.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM definition`).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRefusedVolumesStayUntouched(t *testing.T) {
	good := formatted(t, crashDevice).now
	foreign := image{0: [512]byte{'N', 'T', 'F', 'S'}}
	bent := maps.Clone(good)
	for _, sector := range []int64{0, 8} {
		b := bent[sector]
		b[200] ^= 1
		bent[sector] = b
	}
	mine, theirs := ident.NewUUID(), ident.NewUUID()
	owned := newRecorder(crashDevice, image{})
	if err := store.Format(t.Context(), owned, store.Config{Owner: theirs}, quiet); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		m    image
		size int64
		want error
	}{
		{"blank", image{}, crashDevice, store.ErrBlank},
		{"foreign", foreign, crashDevice, store.ErrForeign},
		{"damaged", bent, crashDevice, store.ErrDamaged},
		{"of another pair", owned.now, crashDevice, store.ErrForeign},
		{"shorter than it was", good, crashDevice - 4096, store.ErrDamaged},
		{"too small", image{}, 1 << 20, disk.ErrNoSpace},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newRecorder(tc.size, tc.m)
			if _, err := store.Open(t.Context(), d, store.Config{Owner: mine}, quiet); !errors.Is(err, tc.want) {
				t.Errorf("Open = %v; want %v", err, tc.want)
			}
			if len(d.ops) != 0 {
				t.Errorf("%d operations reached the volume", len(d.ops))
			}
		})
	}
}

func TestFormatRefusesWhatIsNotBlank(t *testing.T) {
	d := formatted(t, crashDevice)
	n := len(d.ops)
	if err := store.Format(t.Context(), d, store.Config{}, quiet); !errors.Is(err, store.ErrNotBlank) {
		t.Errorf("second Format = %v; want ErrNotBlank", err)
	}
	if len(d.ops) != n {
		t.Error("the refused Format wrote")
	}
}

func TestANewerSchemaIsRefusedAndLeftAsItWas(t *testing.T) {
	d := formatted(t, crashDevice)
	s := opened(t, d)
	err := s.Write(t.Context(), "time travel", func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `PRAGMA user_version = 999`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	n := d.count()
	if _, err := store.Open(t.Context(), d, store.Config{}, quiet); !errors.Is(err, store.ErrNewer) {
		t.Errorf("Open = %v; want ErrNewer", err)
	}
	if d.count() != n {
		t.Error("the refused volume was written to")
	}
}

func TestAFullVolumeRefusesAndStaysHealthy(t *testing.T) {
	d := formatted(t, crashDevice)
	s := opened(t, d)
	defer s.Close()
	rng := rand.New(rand.NewPCG(3, 3))
	kept := 0
	var refused error
	for i := 0; refused == nil && i < 10000; i++ {
		r := row{body: bytesOf(rng, 8000)}
		if i%2 == 0 {
			r.blob = bytesOf(rng, 30000)
		}
		if refused = put(t.Context(), s, i, r); refused == nil {
			kept++
		}
	}
	if !errors.Is(refused, disk.ErrNoSpace) {
		t.Fatalf("full: %v; want no space", refused)
	}
	for i := range 50 { // many more refusals change nothing
		_ = put(t.Context(), s, 20000+i, row{body: bytesOf(rng, 300000)})
	}
	if got := count(t, s); got != kept {
		t.Errorf("%d rows; want the %d that were acknowledged", got, kept)
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	err := s.Write(t.Context(), "make room", func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM definition WHERE version < 20`)
		return err
	})
	if err != nil {
		t.Errorf("making room on a full volume: %v", err)
	}
	if err := put(t.Context(), s, 30000, row{body: bytesOf(rng, 8000)}); err != nil {
		t.Errorf("writing after making room: %v", err)
	}
}

func TestADeviceThatIsFullForAWhileIsNotAFailure(t *testing.T) {
	d := formatted(t, crashDevice)
	s := opened(t, d)
	defer s.Close()
	d.set(true, nil)
	if err := put(t.Context(), s, 0, row{body: []byte("a"), blob: []byte("b")}); !errors.Is(err, disk.ErrNoSpace) {
		t.Fatalf("on a full device: %v; want no space", err)
	}
	if err := put(t.Context(), s, 0, row{body: []byte("a")}); !errors.Is(err, disk.ErrNoSpace) {
		t.Fatalf("on a full device: %v; want no space", err)
	}
	d.set(false, nil)
	if err := put(t.Context(), s, 1, row{body: []byte("c"), blob: []byte("d")}); err != nil {
		t.Fatalf("after room was made: %v", err)
	}
	if err := s.Verify(t.Context()); err != nil || count(t, s) != 1 {
		t.Errorf("%d rows, %v; want 1, nil", count(t, s), err)
	}
}

func TestAfterAFailedSyncNothingSucceedsUntilReopened(t *testing.T) {
	d := formatted(t, crashDevice)
	s := opened(t, d)
	if err := put(t.Context(), s, 0, row{body: []byte("before")}); err != nil {
		t.Fatal(err)
	}
	d.set(false, errors.New("the platter has stopped"))
	if err := put(t.Context(), s, 1, row{body: []byte("during")}); !errors.Is(err, disk.ErrFailed) {
		t.Fatalf("with a failing sync: %v; want ErrFailed", err)
	}
	d.set(false, nil) // the next sync would succeed, and prove nothing about the last
	if err := put(t.Context(), s, 2, row{body: []byte("after")}); !errors.Is(err, disk.ErrFailed) {
		t.Errorf("write after the failure: %v; want ErrFailed", err)
	}
	err := s.Read(t.Context(), "read", func(context.Context, *store.Tx) error { return nil })
	if !errors.Is(err, disk.ErrFailed) || s.Failed() == nil {
		t.Errorf("read after the failure: %v; want ErrFailed", err)
	}
	_ = s.Close()
	s = opened(t, d)
	defer s.Close()
	if n := count(t, s); n < 1 || n > 2 {
		t.Errorf("%d rows after reopening; want the acknowledged one, and perhaps the undecided one", n)
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFilesAreSharedByContentAndGoWithTheirLastOwner(t *testing.T) {
	d := formatted(t, crashDevice)
	s := opened(t, d)
	defer s.Close()
	photo := bytes.Repeat([]byte("photo"), 3000)
	var sum store.Sum
	_, before := s.Usage()
	step := func(f func(context.Context, *store.Tx) error) {
		t.Helper()
		if err := s.Write(t.Context(), "step", f); err != nil {
			t.Fatal(err)
		}
	}
	for _, owner := range []string{"upload", "case"} {
		step(func(ctx context.Context, tx *store.Tx) (err error) {
			sum, err = tx.Put(ctx, photo, owner)
			return err
		})
	}
	step(func(ctx context.Context, tx *store.Tx) error { return tx.Disown(ctx, sum, "upload") })
	if got, err := s.Blob(t.Context(), sum); err != nil || !bytes.Equal(got, photo) {
		t.Fatalf("file with one owner left: %d bytes, %v", len(got), err)
	}
	step(func(ctx context.Context, tx *store.Tx) error { return tx.Disown(ctx, sum, "case") })
	if _, err := s.Blob(t.Context(), sum); !errors.Is(err, store.ErrNoBlob) {
		t.Errorf("file without owner: %v; want ErrNoBlob", err)
	}
	if _, after := s.Usage(); before-after > 5<<20 || after == 0 {
		t.Errorf("room %d before, %d after", before, after)
	}
}

func TestARottenFileIsReportedAndNothingElse(t *testing.T) {
	d := formatted(t, crashDevice)
	s := opened(t, d)
	defer s.Close()
	if err := put(t.Context(), s, 0, row{body: []byte("x"), blob: bytes.Repeat([]byte{0xAB}, 4096)}); err != nil {
		t.Fatal(err)
	}
	last := int64(crashDevice/disk.SectorSize - 1) // the first file lies at the very end
	b := d.now[last]
	b[5] ^= 4
	d.now[last] = b
	if _, err := s.Blob(t.Context(), store.Sum(sha256.Sum256(bytes.Repeat([]byte{0xAB}, 4096)))); !errors.Is(err, disk.ErrCorrupt) {
		t.Errorf("rotten file: %v; want ErrCorrupt", err)
	}
	if count(t, s) != 1 {
		t.Error("the row is gone")
	}
}

func TestReadersGoOnWhileOthersWrite(t *testing.T) {
	d := formatted(t, 16<<20)
	s := opened(t, d)
	defer s.Close()
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range 60 {
				if err := put(t.Context(), s, w*1000+i, row{body: bytesOf(rng, 3000)}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			last := 0
			for range 60 {
				n := count(t, s)
				if n < last {
					t.Errorf("%d rows after %d", n, last)
				}
				last = n
			}
		})
	}
	wg.Wait()
	if got := count(t, s); got != 180 {
		t.Errorf("%d rows; want 180", got)
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// A switch closes the store under the requests that are being served.
func TestTransactionsEndBeforeTheStoreDoes(t *testing.T) {
	d := formatted(t, crashDevice)
	for range 40 {
		s := opened(t, d)
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					err := s.Read(t.Context(), "count", func(ctx context.Context, tx *store.Tx) error {
						var n int
						return tx.QueryRowContext(ctx, `SELECT count(*) FROM blob`).Scan(&n)
					})
					if w == 0 && err == nil {
						err = s.Write(t.Context(), "nothing", func(context.Context, *store.Tx) error { return nil })
					}
					if errors.Is(err, disk.ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("transaction %d: %v", i, err)
						return
					}
				}
			})
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}

func TestAGrownDeviceIsUsed(t *testing.T) {
	d := formatted(t, crashDevice)
	bigger := newRecorder(4*crashDevice, d.now)
	s := opened(t, bigger)
	defer s.Close()
	if total, _ := s.Usage(); total < 3*crashDevice {
		t.Errorf("pool of %d bytes on a device of %d", total, bigger.Size())
	}
	if err := put(t.Context(), s, 1, row{body: []byte("x"), blob: make([]byte, 5<<20)}); err != nil {
		t.Error(err)
	}
}

func TestTheFolderOfADeadProcessIsThrownAway(t *testing.T) {
	run := t.TempDir()
	dead, alive := filepath.Join(run, "beffroi-citizen-999999999-x"), filepath.Join(run, fmt.Sprintf("beffroi-citizen-%d-x", os.Getpid()))
	for _, p := range []string{dead, alive} {
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s, err := store.Open(t.Context(), formatted(t, crashDevice), store.Config{RunDir: run}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(run)
	if len(left) != 1 || left[0].Name() != filepath.Base(alive) {
		t.Errorf("left in the folder: %v; want only that of the living", left)
	}
}

func BenchmarkWrite(b *testing.B) {
	path := filepath.Join(b.TempDir(), "volume")
	if err := disk.CreateFile(path, 256<<20); err != nil {
		b.Fatal(err)
	}
	d, err := disk.OpenFile(path)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	if err := store.Format(b.Context(), d, store.Config{}, quiet); err != nil {
		b.Fatal(err)
	}
	s, err := store.Open(b.Context(), d, store.Config{}, quiet)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := 0; b.Loop(); i++ {
		if err := put(b.Context(), s, i, row{body: fmt.Appendf(nil, "row %d", i)}); err != nil {
			b.Fatal(err)
		}
	}
}
