package nbd

import (
	"log/slog"
	"maps"
	"sync"
	"time"
)

// Reasons for which a connection is ended by us, as counted and logged.
const (
	reasonMagic     = "bad magic number"
	reasonOversize  = "write larger than allowed"
	reasonOption    = "option larger than allowed"
	reasonOptions   = "too many options"
	reasonFlags     = "unknown handshake flags"
	reasonFull      = "too many connections"
	reasonUnsettled = "requests of an ended connection do not finish"
	reasonHandshake = "negotiation not finished in time"
)

// logEvery is the least time between two log lines of one reason: garbage may
// come at line rate, and the log is for people.
const logEvery = time.Second

// reasons counts why connections were ended, and tells about it sparingly.
type reasons struct {
	log *slog.Logger

	mu     sync.Mutex // guards count, quiet
	count  map[string]uint64
	quiet  map[string]time.Time
	silent map[string]uint64
}

func newReasons(log *slog.Logger) *reasons {
	return &reasons{log: log, count: map[string]uint64{}, quiet: map[string]time.Time{}, silent: map[string]uint64{}}
}

func (r *reasons) add(reason, export string) {
	now := time.Now()
	r.mu.Lock()
	r.count[reason]++
	loud := now.After(r.quiet[reason])
	unsaid := r.silent[reason]
	if loud {
		r.quiet[reason], r.silent[reason] = now.Add(logEvery), 0
	} else {
		r.silent[reason]++
	}
	r.mu.Unlock()
	if loud {
		r.log.Warn("connection ended", "reason", reason, "export", export, "unsaid", unsaid)
	}
}

func (r *reasons) snapshot() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.count)
}
