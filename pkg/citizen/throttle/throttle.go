package throttle

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxKeys bounds the memory of a table: 10,000 keys are about 2 MB, and more
// addresses than that in the window of a limit is an attack anyway.
const maxKeys = 10000

// Table is one limit for many keys.
type Table struct {
	every time.Duration
	burst int

	mu    sync.Mutex // guards all below
	keys  map[string]*list.Element
	order *list.List // of *entry, least recently used first
}

type entry struct {
	key   string
	limit *rate.Limiter
}

// New makes a table in which each key may act burst times at once and one more
// time every so often.
func New(every time.Duration, burst int) *Table {
	return &Table{every: every, burst: burst, keys: map[string]*list.Element{}, order: list.New()}
}

// Allow tells whether key may act at now, and if not, how long it must wait.
func (t *Table) Allow(key string, now time.Time) (bool, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.keys[key]
	if e == nil {
		if len(t.keys) >= maxKeys {
			oldest := t.order.Front()
			delete(t.keys, oldest.Value.(*entry).key)
			t.order.Remove(oldest)
		}
		e = t.order.PushBack(&entry{key, rate.NewLimiter(rate.Every(t.every), t.burst)})
		t.keys[key] = e
	}
	t.order.MoveToBack(e)
	l := e.Value.(*entry).limit
	if l.AllowN(now, 1) {
		return true, 0
	}
	r := l.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	r.CancelAt(now)
	return false, wait
}

// Address makes a key of an address: whole for IPv4, the /64 for IPv6, because
// one household has the rest for itself.
func Address(a netip.Addr) string {
	if a = a.Unmap(); a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
