package raftnode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"beffroi.dev/pkg/ident"
)

// LogVersion is the version of the log file. History: see FORMAT.md.
const LogVersion = 1

// The names of the two files in a state folder.
const (
	logFile    = "votes.db"
	markerFile = "votes.started"
)

// lockWait is how long Open waits for a former process to let go of the file.
const lockWait = 2 * time.Second

var (
	bucketMeta    = []byte("meta")
	bucketEntries = []byte("entries")
	keyVersion    = []byte("version")
	keyVoter      = []byte("voter")
	keyPair       = []byte("pair")
	keyHard       = []byte("hard")
	keySnapshot   = []byte("snapshot")
)

var (
	// ErrLogVersion is returned for a log of a newer version.
	ErrLogVersion = errors.New("vote log of a newer version")
	// ErrLogOwner is returned for the log of another voter or pair.
	ErrLogOwner = errors.New("vote log of another voter")
	// ErrLogBusy is returned when another process holds the log.
	ErrLogBusy = errors.New("vote log is in use by another process")
)

// Log is the Store of a real voter: one bbolt file in a state folder, flushed
// at each Persist, and beside it a marker that tells a lost log from a new one.
type Log struct {
	db     *bbolt.DB
	folder string
	failed error
	marked bool
}

// OpenLog opens or creates the log of a voter in a folder that exists. It
// refuses, and leaves untouched, a file of another voter or of a newer version.
func OpenLog(folder string, self ident.Node, pair ident.UUID) (*Log, error) {
	path := filepath.Join(folder, logFile)
	_, statErr := os.Stat(path)
	_, markErr := os.Stat(filepath.Join(folder, markerFile))
	if errors.Is(statErr, os.ErrNotExist) && markErr == nil {
		return nil, fmt.Errorf("open %s: %w", path, ErrAmnesia)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: %w", path, ErrLogBusy)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return own(tx, self, pair) }); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return &Log{db: db, folder: folder}, nil
}

// own checks the owner of the file, or writes it into a new one.
func own(tx *bbolt.Tx, self ident.Node, pair ident.UUID) error {
	voter := binary.BigEndian.AppendUint64(nil, uint64(self))
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		_, err = tx.CreateBucket(bucketEntries)
		return errors.Join(err, meta.Put(keyVersion, []byte{LogVersion}), meta.Put(keyVoter, voter), meta.Put(keyPair, pair[:]))
	}
	v := meta.Get(keyVersion)
	if len(v) != 1 || v[0] > LogVersion {
		return fmt.Errorf("%w: %x, this one reads up to %d", ErrLogVersion, v, LogVersion)
	}
	if string(meta.Get(keyVoter)) != string(voter) || string(meta.Get(keyPair)) != string(pair[:]) {
		return fmt.Errorf("%w: %x of pair %x, we are %v of pair %v", ErrLogOwner, meta.Get(keyVoter), meta.Get(keyPair), self, pair)
	}
	return nil
}

// Restore reads everything.
func (l *Log) Restore() (Restored, error) {
	var r Restored
	err := l.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if b := meta.Get(keyHard); b != nil {
			r.Hard = &raftpb.HardState{}
			if err := proto.Unmarshal(b, r.Hard); err != nil {
				return fmt.Errorf("hard state: %w", err)
			}
		}
		if b := meta.Get(keySnapshot); b != nil {
			r.Snapshot = &raftpb.Snapshot{}
			if err := proto.Unmarshal(b, r.Snapshot); err != nil {
				return fmt.Errorf("snapshot: %w", err)
			}
		}
		return tx.Bucket(bucketEntries).ForEach(func(k, v []byte) error {
			e := &raftpb.Entry{}
			if err := proto.Unmarshal(v, e); err != nil || len(k) != 8 || binary.BigEndian.Uint64(k) != e.GetIndex() {
				return fmt.Errorf("entry %x is damaged", k)
			}
			r.Entries = append(r.Entries, e)
			return nil
		})
	})
	if err != nil {
		return Restored{}, fmt.Errorf("read vote log: %w", err)
	}
	if r.Snapshot == nil && r.Hard == nil {
		if _, err := os.Stat(filepath.Join(l.folder, markerFile)); err == nil {
			return Restored{}, ErrAmnesia
		}
		return r, nil
	}
	return r, l.mark() // the process may have died between its first promise and the marker
}

// Persist writes p in one transaction and flushes it. A failed flush fails the
// log for good: what the disk kept is unknown.
func (l *Log) Persist(p Persist) error {
	if l.failed != nil {
		return l.failed
	}
	if err := l.db.Update(func(tx *bbolt.Tx) error { return write(tx, p) }); err != nil {
		l.failed = fmt.Errorf("%w: %w", ErrStoreFailed, err)
		return l.failed
	}
	if !l.marked {
		if err := l.mark(); err != nil {
			l.failed = fmt.Errorf("%w: %w", ErrStoreFailed, err)
			return l.failed
		}
		l.marked = true
	}
	return nil
}

func write(tx *bbolt.Tx, p Persist) error {
	meta, entries := tx.Bucket(bucketMeta), tx.Bucket(bucketEntries)
	if p.Snapshot != nil {
		if err := put(meta, keySnapshot, p.Snapshot); err != nil {
			return err
		}
		upTo := p.Snapshot.GetMetadata().GetIndex()
		if p.Reset {
			upTo = ^uint64(0)
		}
		for k, _ := entries.Cursor().First(); k != nil && binary.BigEndian.Uint64(k) <= upTo; k, _ = entries.Cursor().First() {
			if err := entries.Delete(k); err != nil {
				return err
			}
		}
	}
	if len(p.Entries) > 0 {
		first := p.Entries[0].GetIndex()
		if err := truncate(meta, entries, first); err != nil {
			return err
		}
		for _, e := range p.Entries {
			if err := put(entries, binary.BigEndian.AppendUint64(nil, e.GetIndex()), e); err != nil {
				return err
			}
		}
	}
	if p.Hard != nil {
		return put(meta, keyHard, p.Hard)
	}
	return nil
}

// truncate removes the entries from first on, which the next append replaces,
// and refuses to leave a gap.
func truncate(meta, entries *bbolt.Bucket, first uint64) error {
	for {
		k, _ := entries.Cursor().Last()
		if k == nil {
			break
		}
		last := binary.BigEndian.Uint64(k)
		if last+1 < first {
			return fmt.Errorf("%w: entry %d after %d", ErrGap, first, last)
		}
		if last < first {
			return nil
		}
		if err := entries.Delete(k); err != nil {
			return err
		}
	}
	var snap raftpb.Snapshot
	if err := proto.Unmarshal(meta.Get(keySnapshot), &snap); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if base := snap.GetMetadata().GetIndex(); first != base+1 {
		return fmt.Errorf("%w: entry %d after a snapshot at %d", ErrGap, first, base)
	}
	return nil
}

func put(b *bbolt.Bucket, key []byte, m proto.Message) error {
	v, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return b.Put(key, v)
}

// mark leaves the marker, before the voter can have promised anything.
func (l *Log) mark() error {
	path := filepath.Join(l.folder, markerFile)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mark the voter as started: %w", err)
	}
	_, err = f.WriteString("This voter has taken part. If votes.db is lost it must join again under a new identity.\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("mark the voter as started: %w", err)
	}
	d, err := os.Open(l.folder)
	if err != nil {
		return fmt.Errorf("mark the voter as started: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close releases the file.
func (l *Log) Close() error {
	if err := l.db.Close(); err != nil {
		return fmt.Errorf("close vote log: %w", err)
	}
	return nil
}
