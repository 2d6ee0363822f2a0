package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/vfs"
	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

const (
	minDevice = 2 << 20
	minLog    = 512 << 10
	maxLog    = 32 << 20
	logShare  = 16 // the log gets this fraction of the device, within its bounds
	// frameBytes is what one page takes in the log.
	frameBytes = disk.BlockSize + 24
	// readers is how many connections serve reads beside the one that writes:
	// more than the processors of a small node would only queue deeper.
	readers = 4
)

// Config tells how a volume is used.
type Config struct {
	// Owner is the pair the volume belongs to; zero accepts and writes any.
	Owner ident.UUID
	// RunDir holds SQLite's WAL index while the store is open. It should lie in
	// memory. Empty: the system's folder for temporary files.
	RunDir string
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	if c.RunDir == "" {
		return nil
	}
	if st, err := os.Stat(c.RunDir); err != nil {
		return fmt.Errorf("run folder: %w", err)
	} else if !st.IsDir() {
		return fmt.Errorf("run folder %s: not a folder", c.RunDir)
	}
	return nil
}

// Store is an open citizen volume. Its methods may be called concurrently.
type Store struct {
	v       *volume
	log     *slog.Logger
	vfsName string
	runDir  string
	write   *sql.DB // one connection: writers queue here
	read    *sql.DB
	margin  int64 // room promised to the database ahead of its use
	users   users
}

// Format lays out a blank volume and makes an empty database on it. A volume
// that holds anything is refused. A crash on the way leaves it blank.
func Format(ctx context.Context, dev disk.Device, cfg Config, log *slog.Logger) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("format citizen volume: %w", err)
	}
	if _, err := readSuper(dev); !errors.Is(err, ErrBlank) {
		if err == nil || errors.Is(err, ErrForeign) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrNewer) {
			err = ErrNotBlank
		}
		return fmt.Errorf("format citizen volume: %w", err)
	}
	size := dev.Size() / disk.BlockSize * disk.BlockSize
	s := superblock{Identity: ident.NewUUID(), Owner: cfg.Owner, Device: size, LogOffset: slotCount * disk.BlockSize}
	s.LogCap = min(max(size/logShare/disk.BlockSize*disk.BlockSize, minLog), maxLog)
	s.PoolOffset = s.LogOffset + s.LogCap
	s.PoolLen = size - s.PoolOffset
	v := newVolume(dev, s)
	v.frozen = true
	st, err := open(ctx, v, cfg, log)
	if err != nil {
		return fmt.Errorf("format citizen volume: %w", err)
	}
	if err := st.Close(); err != nil {
		return fmt.Errorf("format citizen volume: %w", err)
	}
	v.frozen = false
	for range slotCount { // two generations, so that both slots are sound
		v.saved = superblock{Generation: v.saved.Generation}
		if err := v.sync(); err != nil {
			return fmt.Errorf("format citizen volume: %w", err)
		}
	}
	log.Info("citizen volume formatted", "identity", s.Identity, "bytes", size)
	return nil
}

// Open takes over a formatted volume: it recovers the database, throws away
// what belonged to the last owner's memory, and migrates the schema. The device
// stays the caller's; nobody else may write to it until Close.
func Open(ctx context.Context, dev disk.Device, cfg Config, log *slog.Logger) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open citizen volume: %w", err)
	}
	s, err := readSuper(dev)
	if err != nil {
		return nil, fmt.Errorf("open citizen volume: %w", err)
	}
	if !cfg.Owner.IsZero() && !s.Owner.IsZero() && s.Owner != cfg.Owner {
		return nil, fmt.Errorf("open citizen volume: %w: it belongs to pair %s", ErrForeign, s.Owner)
	}
	if s.Device > dev.Size() {
		return nil, fmt.Errorf("open citizen volume: %w: it is %d bytes long and was %d", ErrDamaged, dev.Size(), s.Device)
	}
	v := newVolume(dev, s)
	if grown := dev.Size() / disk.BlockSize * disk.BlockSize; grown > s.Device {
		v.super.PoolLen, v.super.Device = grown-s.PoolOffset, grown
		v.space.len = v.super.PoolLen
	}
	st, err := open(ctx, v, cfg, log)
	if err != nil {
		return nil, fmt.Errorf("open citizen volume: %w", err)
	}
	return st, nil
}

func open(ctx context.Context, v *volume, cfg Config, log *slog.Logger) (_ *Store, err error) {
	logFile, err := openLog(v)
	if err != nil {
		return nil, err
	}
	run, err := makeRunDir(cfg.RunDir)
	if err != nil {
		return nil, err
	}
	st := &Store{v: v, log: log.With("room", "citizen/store"), vfsName: "beffroi-" + randomName(), runDir: run}
	st.margin = min(4<<20, max(v.super.PoolLen/16, 64<<10))
	vfs.Register(st.vfsName, &volumeVFS{v: v, log: logFile, database: databaseFile{v: v}, indexAt: filepath.Join(run, "wal-index")})
	defer func() {
		if err != nil {
			_ = v.failHard("open", err) // so that closing leaves the volume as it was found
			_ = st.Close()
		}
	}()
	checkpoint := min(1000, v.super.LogCap/frameBytes/4)
	if st.write, err = st.connect(1, "journal_mode(wal)", "synchronous(full)", fmt.Sprintf("wal_autocheckpoint(%d)", checkpoint)); err != nil {
		return nil, err
	}
	if err := st.migrate(ctx); err != nil {
		return nil, err
	}
	if err := st.loadSpace(ctx); err != nil {
		return nil, err
	}
	if st.read, err = st.connect(readers, "query_only(1)"); err != nil {
		return nil, err
	}
	return st, nil
}

// makeRunDir makes the private folder of the WAL index, and throws away those
// of processes that died.
func makeRunDir(parent string) (string, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	const prefix = "beffroi-citizen-"
	old, err := filepath.Glob(filepath.Join(parent, prefix+"*"))
	if err != nil {
		return "", fmt.Errorf("list %s: %w", parent, err)
	}
	for _, path := range old {
		var pid int
		_, err := fmt.Sscanf(filepath.Base(path), prefix+"%d-", &pid)
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			_ = os.RemoveAll(path) // somebody else's is not ours to remove, and not in the way
		}
	}
	run, err := os.MkdirTemp(parent, fmt.Sprintf("%s%d-", prefix, os.Getpid()))
	if err != nil {
		return "", fmt.Errorf("make folder for the WAL index: %w", err)
	}
	return run, nil
}

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24)
	return hex.EncodeToString(b[:])
}

func (s *Store) connect(n int, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"vfs": {s.vfsName}}
	for _, p := range append([]string{"busy_timeout(5000)", "page_size(4096)", "foreign_keys(1)", "temp_store(memory)"}, pragmas...) {
		q.Add("_pragma", p)
	}
	db, err := driver.Open("file:" + databaseName + "?" + q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// loadSpace learns from the database which ranges of the pool are taken.
func (s *Store) loadSpace(ctx context.Context) error {
	var pages int64
	if err := s.write.QueryRowContext(ctx, `PRAGMA page_count`).Scan(&pages); err != nil {
		return fmt.Errorf("count pages: %w", err)
	}
	s.v.space.promise(pages * disk.BlockSize)
	rows, err := s.write.QueryContext(ctx, `SELECT off, size FROM blob ORDER BY off`)
	if err != nil {
		return fmt.Errorf("list files: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e extent
		if err := rows.Scan(&e.off, &e.len); err != nil {
			return fmt.Errorf("list files: %w", err)
		}
		e.len = blocks(max(e.len, 1))
		if err := s.v.space.take(e); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Close refuses new transactions, waits for those under way, writes the log back into
// the database and lets go of the device. On a failed volume it only lets go. When a
// transaction does not end in time, everything is left to it, and that is the error.
func (s *Store) Close() error {
	if err := s.users.end(closeBound); err != nil {
		return fmt.Errorf("close citizen volume: %w", err)
	}
	var err error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	vfs.Unregister(s.vfsName)
	if s.v.check() == nil {
		err = errors.Join(err, s.v.sync())
	}
	err = errors.Join(err, os.RemoveAll(s.runDir))
	if err != nil {
		return fmt.Errorf("close citizen volume: %w", err)
	}
	return nil
}

// Failed returns why the store has failed, or nil. A failed store must be
// closed and opened again.
func (s *Store) Failed() error { return s.v.check() }

// Identity is the volume's own identity, drawn when it was formatted.
func (s *Store) Identity() ident.UUID { return s.v.super.Identity }

// Usage returns the bytes of the pool and how many of them nothing holds.
func (s *Store) Usage() (total, free int64) { return s.v.space.usage() }
