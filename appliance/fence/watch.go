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

// Watch is init's side: it listens for renewals and executes the fences until
// ctx ends. voucher is the user of the node service, if it has one of its own.
// killCitizen must not block. beat is called at every look at the
// deadlines; false means that something that must be dead could not be killed.
func Watch(ctx context.Context, d config.Dir, t lease.Timing, voucher *account.ID, killCitizen func(), beat func(ok bool), clk clock.Clock, log *slog.Logger) error {
	log = log.With("room", "fence")
	group, users := 0, []uint32(nil)
	if voucher != nil {
		group, users = int(*voucher), []uint32{uint32(*voucher)}
	}
	conn, err := supervise.ListenDatagrams(d.Socket("init"), group)
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	last, _ := Kept(d)
	w := &watcher{dir: d, guard: NewGuard(t, last), clock: clk, log: log, killCitizen: killCitizen, beat: beat, renewals: make(chan Renewal)}
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

type watcher struct {
	dir         config.Dir
	guard       *Guard // owned by keep
	clock       clock.Clock
	log         *slog.Logger
	killCitizen func()
	beat        func(ok bool)
	renewals    chan Renewal
	kept        Renewal       // owned by keep
	keptAt      clock.Instant // owned by keep
	complained  clock.Instant // owned by keep
	passed      bool          // owned by keep
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
	if err := Keep(w.dir, r); err != nil {
		w.complain("the renewal cannot be kept", err)
		return
	}
	w.kept, w.keptAt = r, now
}

func (w *watcher) do(work Work) {
	ok := true
	defer func() { w.beat(ok) }()
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
		w.killCitizen()
	}
}

func (w *watcher) complain(what string, err error) {
	if now := w.clock.Now(); w.complained == 0 || now.Sub(w.complained) > complainEvery {
		w.complained = now
		w.log.Error(what, "cause", err)
	}
}
