package transport

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"beffroi.dev/pkg/clock"
)

// Refusal says why a connection was refused or closed. The numbers up to
// RefusedStale travel in the reply to a hello and are never reused.
type Refusal uint8

// The reasons.
const (
	RefusedVersion   Refusal = 1  // another protocol version
	RefusedPair      Refusal = 2  // a member of another pair
	RefusedNode      Refusal = 3  // the key is not that node's, or another node was meant
	RefusedPath      Refusal = 4  // arrived over another path than it says
	RefusedSession   Refusal = 5  // a data session that is not kept, or over a path that is not linked
	RefusedBusy      Refusal = 6  // too many connections in handshake
	RefusedStale     Refusal = 7  // a later attempt of the same peer has overtaken this one
	RefusedKey       Refusal = 16 // TLS failed: no pinned key, or not TLS
	RefusedGarbage   Refusal = 17 // not a hello
	RefusedFrame     Refusal = 18 // a frame that the connection never carries, or too long
	RefusedHandshake Refusal = 19 // no hello before the deadline
)

var refusalNames = map[Refusal]string{
	RefusedVersion: "protocol version", RefusedPair: "another pair", RefusedNode: "another node", RefusedPath: "another path",
	RefusedSession: "no session wanted", RefusedBusy: "too many handshakes", RefusedStale: "overtaken", RefusedKey: "key not pinned",
	RefusedGarbage: "not a hello", RefusedFrame: "bad frame", RefusedHandshake: "handshake too slow",
}

// String says the reason in words.
func (r Refusal) String() string {
	if s := refusalNames[r]; s != "" {
		return s
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// RefusedError is the error of a connection that was refused.
type RefusedError struct {
	Reason  Refusal
	By      string // who refused: "us" or "peer"
	Version uint16 // of the other end, with RefusedVersion
}

// Error says who refused and why.
func (e *RefusedError) Error() string {
	if e.Reason == RefusedVersion {
		return fmt.Sprintf("refused by %s: protocol version %d, ours is %d", e.By, e.Version, Version)
	}
	return fmt.Sprintf("refused by %s: %v", e.By, e.Reason)
}

// refusalEvery limits the log lines for one reason: a port scan or a peer of
// the wrong version must not drown the log.
const refusalEvery = 10 * time.Second

// refusals counts reasons and logs each at a bounded rate.
type refusals struct {
	log   *slog.Logger
	clock clock.Clock

	mu     sync.Mutex // guards the maps
	count  map[Refusal]uint64
	logged map[Refusal]clock.Instant
	silent map[Refusal]uint64 // counted but not logged since logged
}

func newRefusals(log *slog.Logger, clk clock.Clock) *refusals {
	return &refusals{log: log, clock: clk, count: map[Refusal]uint64{}, logged: map[Refusal]clock.Instant{}, silent: map[Refusal]uint64{}}
}

func (r *refusals) add(why Refusal, remote string, err error) {
	now := r.clock.Now()
	r.mu.Lock()
	r.count[why]++
	last, seen := r.logged[why]
	quiet := seen && now.Sub(last) < refusalEvery
	skipped := r.silent[why]
	if quiet {
		r.silent[why]++
	} else {
		r.logged[why], r.silent[why] = now, 0
	}
	r.mu.Unlock()
	if !quiet {
		r.log.Warn("connection refused", "reason", why.String(), "remote", remote, "cause", err, "more_since_last", skipped)
	}
}

func (r *refusals) counts() map[Refusal]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := make(map[Refusal]uint64, len(r.count))
	for k, v := range r.count {
		m[k] = v
	}
	return m
}
