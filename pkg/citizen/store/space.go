package store

import (
	"fmt"
	"slices"
	"sync"

	"beffroi.dev/pkg/disk"
)

// extent is a range of the pool, in bytes from its start, whole blocks.
type extent struct{ off, len int64 }

func (e extent) end() int64 { return e.off + e.len }

// space shares the pool between the database, which grows upward from its
// start, and blobs, which are placed from its end downward. The database is
// promised everything below limit before a transaction begins, so that neither
// a commit nor a checkpoint ever finds its room taken by a photo.
type space struct {
	mu    sync.Mutex // guards all below
	len   int64      // length of the pool
	limit int64      // the database may grow to here
	used  []extent   // blobs, ordered by offset; all at or above limit
}

func blocks(n int64) int64 { return (n + disk.BlockSize - 1) / disk.BlockSize * disk.BlockSize }

// alloc finds room for n bytes, as near to the end of the pool as it can.
func (s *space) alloc(n int64) (extent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	need := blocks(max(n, 1))
	top := s.len
	for i := len(s.used) - 1; i >= -1; i-- {
		bottom := s.limit
		if i >= 0 {
			bottom = s.used[i].end()
		}
		if top-bottom >= need {
			e := extent{top - need, need}
			s.used = slices.Insert(s.used, i+1, e)
			return e, nil
		}
		if i >= 0 {
			top = s.used[i].off
		}
	}
	return extent{}, fmt.Errorf("place a file of %d bytes: %w", n, disk.ErrNoSpace)
}

// take marks a range that the database says a blob holds. It refuses a range
// outside the pool or on top of another: that database is not to be trusted.
func (s *space) take(e extent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := slices.BinarySearchFunc(s.used, e, func(a, b extent) int { return int(max(-1, min(1, a.off-b.off))) })
	bad := e.len <= 0 || e.off < s.limit || e.off%disk.BlockSize != 0 || e.len%disk.BlockSize != 0 || e.len > s.len-e.off
	if bad || i < len(s.used) && s.used[i].off < e.end() || i > 0 && s.used[i-1].end() > e.off {
		return fmt.Errorf("%w: a file claims bytes %d to %d of the pool", ErrDamaged, e.off, e.off+e.len)
	}
	s.used = slices.Insert(s.used, i, e)
	return nil
}

// free gives a range back. Freeing what is not held is a broken invariant.
func (s *space) free(e extent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.used, e)
	if i < 0 {
		panic(fmt.Sprintf("store: range %d+%d freed twice", e.off, e.len))
	}
	s.used = slices.Delete(s.used, i, i+1)
}

// promise raises the database's limit to want, or as far as the blobs allow,
// and returns the limit.
func (s *space) promise(want int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	ceiling := s.len
	if len(s.used) > 0 {
		ceiling = s.used[0].off
	}
	s.limit = max(s.limit, min(blocks(want), ceiling))
	return s.limit
}

// usage returns the length of the pool and what is neither promised nor held.
func (s *space) usage() (total, free int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	free = s.len - s.limit
	for _, e := range s.used {
		free -= e.len
	}
	return s.len, free
}
