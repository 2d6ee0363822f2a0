package fence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/host/account"
	"beffroi.dev/pkg/host/supervise"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/task"
)

const (
	// beat is the time between two looks at the deadlines: a small part of every
	// profile's margin.
	beat = 25 * time.Millisecond
	// keepEvery is the longest time between two writes of the kept renewal. An
	// older instant than init knew only lets the next life be stricter.
	keepEvery = 500 * time.Millisecond
	// complainEvery is the shortest time between two log lines of one kind, for
	// what may happen at every beat.
	complainEvery = 5 * time.Second
	stopBound     = time.Second
)

// Config says what a fence may do, and whom it tells.
type Config struct {
	Dir    config.Dir
	Timing lease.Timing
	// KillCitizen ends the citizen service; it must not block.
	KillCitizen func()
	// DropAddress takes the service address off the node, after KillCitizen. It is called
	// again and again until it succeeds.
	DropAddress func() error
	// Beat is called at every look at the deadlines; false means that something that must
	// be dead could not be killed, or the address not be dropped.
	Beat func(ok bool)
}

// Validate reports all faults.
func (c Config) Validate() error {
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("fence: no state folder"))
	}
	if c.Timing.Fence <= 0 || c.Timing.AddressDrop <= 0 {
		faults = append(faults, fmt.Errorf("fence: profile %q has no times", c.Timing.Profile))
	}
	if c.KillCitizen == nil || c.DropAddress == nil || c.Beat == nil {
		faults = append(faults, errors.New("fence: nobody kills the citizen service, drops the address or takes the beats"))
	}
	return errors.Join(faults...)
}

// Watch is init's side: it listens for renewals and executes the fences until
// ctx ends. voucher is the user of the node service, if it has one of its own.
func Watch(ctx context.Context, c Config, voucher *account.ID, clk clock.Clock, log *slog.Logger) error {
	if err := c.Validate(); err != nil {
		return err
	}
	group, users := 0, []uint32(nil)
	if voucher != nil {
		group, users = int(*voucher), []uint32{uint32(*voucher)}
	}
	conn, err := supervise.ListenDatagrams(c.Dir.Socket("init"), group)
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	last, _ := Kept(c.Dir)
	w := newWatcher(c, last, clk, log)
	tasks := task.New(ctx)
	tasks.Go("renewals", func(ctx context.Context) error { return w.hear(ctx, conn, users) })
	tasks.Go("deadlines", w.keep)
	<-tasks.Context().Done()
	err = conn.Close()
	if err := errors.Join(err, tasks.Stop(stopBound)); err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	return nil
}

// Linger executes the fences of a former life of init, which nobody renews, until ctx
// ends: this life does not listen yet. Without a former life it returns at once.
func Linger(ctx context.Context, c Config, clk clock.Clock, log *slog.Logger) error {
	if err := c.Validate(); err != nil {
		return err
	}
	last, ok := Kept(c.Dir)
	if !ok {
		return nil
	}
	return newWatcher(c, last, clk, log).keep(ctx)
}

type watcher struct {
	cfg      Config
	clock    clock.Clock
	log      *slog.Logger
	renewals chan Renewal

	// Owned by keep:
	guard      *Guard
	kept       Renewal
	keptAt     clock.Instant
	complained clock.Instant
	passed     bool
	held       bool // the citizen service was to be killed, and the address is still there
}

func newWatcher(c Config, last Renewal, clk clock.Clock, log *slog.Logger) *watcher {
	return &watcher{cfg: c, clock: clk, log: log.With("room", "fence"), renewals: make(chan Renewal), guard: NewGuard(c.Timing, last)}
}

func (w *watcher) hear(ctx context.Context, conn *net.UnixConn, users []uint32) error {
	buf := make([]byte, maxRenewal)
	var bad uint64
	var told time.Time
	for {
		d, err := supervise.ReadDatagram(conn, buf, users...)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		r, err := decode(d.Data)
		if err != nil {
			if bad++; time.Since(told) > complainEvery {
				told = time.Now()
				w.log.Warn("renewal dropped", "from", d.PID, "dropped", bad, "cause", err)
			}
			continue
		}
		select {
		case w.renewals <- r:
		case <-ctx.Done():
			return nil
		}
	}
}

// keep owns the guard.
func (w *watcher) keep(ctx context.Context) error {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		var work Work
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			work = w.guard.Due(w.clock.Now())
		case r := <-w.renewals:
			work = w.guard.Renew(r, w.clock.Now())
			w.do(work) // before anything that may take time
			w.keepLast()
			continue
		}
		w.do(work)
	}
}

// keepLast writes what the next life must know: what is exposed at once, the
// instant now and then.
func (w *watcher) keepLast() {
	r, now := w.guard.Last(), w.clock.Now()
	if now.Sub(w.keptAt) < keepEvery && r.Address == w.kept.Address && slices.Equal(r.Guests, w.kept.Guests) {
		return
	}
	if err := Keep(w.cfg.Dir, r); err != nil {
		w.complain("the renewal cannot be kept", err)
		return
	}
	w.kept, w.keptAt = r, now
}

func (w *watcher) do(work Work) {
	ok := true
	defer func() { w.cfg.Beat(ok) }()
	if passed := w.guard.Passed(w.clock.Now()); passed != w.passed {
		w.passed = passed
		w.log.Warn("fence", "passed", passed, "exposed", len(work.Guests))
	}
	for _, g := range work.Guests {
		killed, err := Kill(g.Folder)
		if err != nil {
			ok = false
			w.complain("an exposed guest cannot be killed", err)
		} else if killed {
			w.log.Warn("guest killed: nobody vouches for this node", "vm", g.Name)
		}
	}
	if work.Citizen {
		w.log.Warn("citizen service killed: nobody vouches for this node, and it held the address")
		w.cfg.KillCitizen()
		w.held = true
	}
	if w.held {
		if err := w.cfg.DropAddress(); err != nil {
			ok = false
			w.complain("the service address cannot be taken off this node", err)
			return
		}
		w.held = false
	}
}

func (w *watcher) complain(what string, err error) {
	if now := w.clock.Now(); w.complained == 0 || now.Sub(w.complained) > complainEvery {
		w.complained = now
		w.log.Error(what, "cause", err)
	}
}
