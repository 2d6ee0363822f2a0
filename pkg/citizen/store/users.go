package store

import (
	"fmt"
	"sync"
	"time"

	"beffroi.dev/pkg/disk"
)

// closeBound is how long Close waits for transactions that are under way. On a device
// that was let go of they end at once, with its error.
const closeBound = 20 * time.Second

// users counts the transactions that are under way. Nothing may be taken from under
// them: SQLite does not survive the loss of its file system, it panics, with
// database/sql's locks held.
type users struct {
	mu     sync.Mutex // guards all below
	open   int
	closed bool
	idle   chan struct{} // closed when closed is set and open has become 0
}

// enter begins a transaction; leave ends it.
func (u *users) enter() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return disk.ErrClosed
	}
	u.open++
	return nil
}

func (u *users) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open--
	if u.closed && u.open == 0 {
		close(u.idle)
	}
}

// end refuses new transactions and waits for those under way.
func (u *users) end(bound time.Duration) error {
	u.mu.Lock()
	if !u.closed {
		u.closed, u.idle = true, make(chan struct{})
		if u.open == 0 {
			close(u.idle)
		}
	}
	idle := u.idle
	u.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-time.After(bound):
		return fmt.Errorf("transactions are under way still, after %v", bound)
	}
}
