package console

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/quorum/cluster"
)

const (
	history   = 5 * time.Minute // that the drawing of write rates shows
	maxPoints = 400             // of it: one a second and some
	oldAfter  = 5 * time.Second // a part that was not reported for so long is old
	askBound  = 2 * time.Second // of a question to the node service
)

// point is a rate of acknowledged writes. A gap begins a new line.
type point struct {
	at   time.Time
	rate float64
	gap  bool
}

// snapshot is what the console knows; it is never changed after it was published.
type snapshot struct {
	node  status.Node
	at    time.Time // when the node service last told it; zero: never
	fault error     // of the last question
	users map[string]cluster.User
	known bool // the users are
	rates []point
}

// feed asks the node service again and again and publishes what it says.
type feed struct {
	cfg  Config
	ctl  Control
	log  *slog.Logger
	kick chan struct{} // somebody begins to watch

	mu       sync.Mutex // guards all below
	snap     snapshot
	changed  chan struct{} // closed when snap is replaced
	watchers int
	acked    uint64    // of the last report
	ackedAt  time.Time // of the last report
}

func newFeed(cfg Config, ctl Control, log *slog.Logger) *feed {
	return &feed{cfg: cfg, ctl: ctl, log: log, kick: make(chan struct{}, 1), changed: make(chan struct{})}
}

func (f *feed) now() snapshot {
	s, _ := f.next()
	return s
}

// next also returns a channel that is closed when there is something newer.
func (f *feed) next() (snapshot, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snap, f.changed
}

func (f *feed) publish(change func(*snapshot)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.snap)
	close(f.changed)
	f.changed = make(chan struct{})
}

// watch makes the feed look more often until the returned function is called.
func (f *feed) watch() func() {
	f.count(1)
	select {
	case f.kick <- struct{}{}:
	default:
	}
	return func() { f.count(-1) }
}

func (f *feed) count(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers += n
}

func (f *feed) pause() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers > 0 {
		return f.cfg.Every
	}
	return f.cfg.Rest
}

// run asks for the status until ctx ends.
func (f *feed) run(ctx context.Context) error {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		case <-f.kick:
		}
		f.look(ctx)
		again.Reset(f.pause())
	}
}

func (f *feed) look(ctx context.Context) {
	bound, cancel := context.WithTimeout(ctx, askBound)
	n, err := f.ctl.Status(bound)
	cancel()
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	if old := f.now().fault; (err == nil) != (old == nil) {
		f.log.Info("node service", "answers", err == nil, "cause", err)
	}
	f.publish(func(s *snapshot) {
		if s.fault = err; err != nil {
			return
		}
		s.node, s.at = n, now
		s.rates = f.rates(s.rates, n.Store, now)
	})
}

// rates adds the rate since the last report. Its time is that of the report: how
// often the console looks does not bend it.
func (f *feed) rates(old []point, st *status.Store, now time.Time) []point {
	if st == nil || time.Duration(st.Age)*time.Millisecond > oldAfter {
		f.ackedAt = time.Time{}
		return old
	}
	at, acked := now.Add(-time.Duration(st.Age)*time.Millisecond), st.Counters.Acked
	since := at.Sub(f.ackedAt)
	if !f.ackedAt.IsZero() && since < f.cfg.Every/2 && acked >= f.acked {
		return old
	}
	p := point{at: at}
	if p.gap = f.ackedAt.IsZero() || acked < f.acked || since > 3*f.cfg.Rest; !p.gap {
		p.rate = float64(acked-f.acked) / since.Seconds()
	}
	f.acked, f.ackedAt = acked, at
	first := 0
	for first < len(old) && (now.Sub(old[first].at) > history || len(old)-first >= maxPoints) {
		first++
	}
	return append(old[first:len(old):len(old)], p)
}

// runUsers follows the accounts of the voted state.
func (f *feed) runUsers(ctx context.Context) error {
	for after := uint64(0); ctx.Err() == nil; {
		s, err := f.ctl.Watch(ctx, after)
		if err != nil { // only when ctx ends, but a loop must not rely on it
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		after = s.Index
		f.publish(func(snap *snapshot) { snap.users, snap.known = s.Users, true })
	}
	return nil
}

// awaitUser waits until an account is known here.
func (f *feed) awaitUser(ctx context.Context, name string) bool {
	for {
		s, changed := f.next()
		if _, ok := s.users[name]; ok {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}
