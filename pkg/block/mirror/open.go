package mirror

import (
	"fmt"
	"log/slog"
	"slices"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
)

// Open builds the mirror from what recovery found. Groups are as the log knows
// them; nothing is served before the vote has confirmed a configuration (R7).
func Open(cfg Config, l *seglog.Log, rec *seglog.Recovery, now clock.Instant, log *slog.Logger) (*Core, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("mirror configuration: %w", err)
	}
	c := &Core{cfg: cfg, log: l, slog: log, now: now, sessionAt: now, groups: map[ident.Group]*group{}, forwards: map[uint64]*op{}, reading: map[*op]bool{}, fetches: map[uint64]wanted{}}
	next := uint64(0)
	pending := map[pendingRef]*group{}
	if len(rec.State) > 0 {
		var err error
		if next, pending, err = c.restore(rec.State); err != nil {
			return nil, fmt.Errorf("open mirror: %w", err)
		}
	}
	err := rec.Replay(func(at seglog.Position, records []*frame.Record) error {
		for i, r := range records {
			if at.LSN >= next {
				if err := c.replay(r, at, i); err != nil {
					return err
				}
				continue
			}
			// The state holds this record already, unless it was still pending.
			if g := pending[pendingRef{at.LSN, uint32(i)}]; g != nil {
				g.replayPending(r, at, i)
			} else {
				c.releaseRecord(r)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open mirror: %w", err)
	}
	for _, g := range c.order {
		g.apply()
		g.grantedAt, g.enteredAt = now, now
	}
	return c, nil
}

func (c *Core) releaseRecord(r *frame.Record) {
	if r.Kind.HasPayload() {
		for i := range uint64(r.Count) {
			c.log.Release(r.Loc + i)
		}
	}
}

// replayPending puts a durable record back among the pending ones.
func (g *group) replayPending(r *frame.Record, at seglog.Position, slot int) {
	p := &pend{rec: r, at: at, slot: slot, durable: true}
	g.pending = append(g.pending, p)
	g.settled++
	g.index(p)
	if r.Kind.Live() {
		g.last, g.durable, g.reached = r.Seq, r.Seq, max(g.reached, r.Seq)
		g.noteEpoch(r.Epoch, r.Seq)
	}
}

// replay applies a record of the log that the saved state does not contain.
func (c *Core) replay(r *frame.Record, at seglog.Position, slot int) error {
	if r.Kind == frame.Drop {
		if g := c.groups[r.Group]; g != nil {
			g.drop()
			delete(c.groups, r.Group)
			c.order = slices.DeleteFunc(c.order, func(o *group) bool { return o == g })
		}
		return nil
	}
	g := c.group(r.Group)
	switch r.Kind {
	case frame.Truncate, frame.Start, frame.Reset:
		// Copies carry committed data, so no Commit follows them: in life they counted as
		// soon as they were durable, before the rest was discarded.
		if !mutant.forgetCopies {
			g.apply()
		}
	}
	switch r.Kind {
	case frame.Write, frame.Unmap, frame.Copy, frame.CopyUnmap:
		if r.Kind.Live() && r.Seq != g.last+1 {
			return fmt.Errorf("group %d: record %d follows record %d", g.id, r.Seq, g.last)
		}
		g.replayPending(r, at, slot)
		if g.primary() && !g.conf.Has(c.cfg.Peer) && r.Kind.Live() {
			addRange(g.dirty, r.Volume, r.LBA, uint64(r.Count))
		}
	case frame.Commit:
		g.watermark = max(g.watermark, min(r.Seq, g.durable))
		g.logged = g.watermark
		g.apply()
	case frame.Enter:
		g.conf, g.base = *r.Conf, r.Base
		g.applyEnter(c.cfg.Self, c.cfg.Peer)
	case frame.Truncate:
		g.discardAbove(r.Seq, !g.member())
	case frame.Start:
		if len(g.pending) > 0 {
			g.discardAbove(g.watermark, true)
		}
		g.startAt(r.Epoch, r.Seq)
	case frame.Reset:
		g.reset()
	}
	return nil
}
