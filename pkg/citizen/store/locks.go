package store

import (
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// locks are the file locks of the database among the connections of this
// process; no other process can reach the volume while we hold the device.
type locks struct {
	mu      sync.Mutex // guards all below
	shared  int
	reserve bool
	pending bool
}

// raise takes *held up to level, or returns BUSY and leaves what was held.
func (l *locks) raise(held *vfs.LockLevel, level vfs.LockLevel) error {
	if *held >= level {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch level {
	case vfs.LOCK_SHARED:
		if l.pending {
			return sqlite3.BUSY
		}
		l.shared++
	case vfs.LOCK_RESERVED:
		if l.reserve {
			return sqlite3.BUSY
		}
		l.reserve = true
	case vfs.LOCK_EXCLUSIVE:
		if *held < vfs.LOCK_RESERVED { // SQLite goes from shared to exclusive when it recovers
			if l.reserve {
				return sqlite3.BUSY
			}
			l.reserve = true
		}
		*held, l.pending = vfs.LOCK_PENDING, true
		if l.shared > 1 {
			return sqlite3.BUSY
		}
	}
	*held = level
	return nil
}

func (l *locks) lower(held *vfs.LockLevel, level vfs.LockLevel) {
	if *held <= level {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if *held >= vfs.LOCK_RESERVED {
		l.reserve = false
	}
	if *held >= vfs.LOCK_PENDING {
		l.pending = false
	}
	if level == vfs.LOCK_NONE {
		l.shared--
	}
	*held = level
}

func (l *locks) reserved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reserve
}
