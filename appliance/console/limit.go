package console

import (
	"sync"
	"time"
)

// maxKeys bounds how many addresses and accounts are remembered.
const maxKeys = 4096

// limit bounds failed attempts by key: a burst, then one each time the pause has
// passed.
type limit struct {
	burst int
	pause time.Duration

	mu    sync.Mutex           // guards keys
	until map[string]time.Time // when all of a key's attempts are back
}

func newLimit(burst int, pause time.Duration) *limit {
	return &limit{burst: burst, pause: pause, until: map[string]time.Time{}}
}

// take uses one attempt up, or tells how long to wait for one.
func (l *limit) take(key string, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	until := l.until[key]
	if until.Before(now) {
		until = now
	}
	until = until.Add(l.pause)
	if wait = until.Sub(now) - time.Duration(l.burst)*l.pause; wait > 0 {
		return wait
	}
	if len(l.until) >= maxKeys {
		l.sweep(now)
	}
	l.until[key] = until
	return 0
}

// sweep forgets the keys that have all their attempts, and, under a flood of
// them, the one that gets them back first.
func (l *limit) sweep(now time.Time) {
	first := ""
	for k, u := range l.until {
		if u.Before(now) {
			delete(l.until, k)
		} else if first == "" || u.Before(l.until[first]) {
			first = k
		}
	}
	if len(l.until) >= maxKeys {
		delete(l.until, first)
	}
}

// forgive gives an attempt back that was none: the password was right.
func (l *limit) forgive(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u, ok := l.until[key]; ok {
		l.until[key] = u.Add(-l.pause)
	}
}
