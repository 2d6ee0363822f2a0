package raftnode

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"beffroi.dev/pkg/ident"
)

// Ready returns the work that is to do, if there is any. It must be done and
// followed by Advance before anything else is called.
func (c *Core) Ready() (Ready, bool, error) {
	var r Ready
	have := false
	err := c.guard(func() error {
		if c.open {
			return fmt.Errorf("%w: Ready twice without Advance", ErrBroken)
		}
		if !c.raw.HasReady() && c.extra.Empty() {
			return nil
		}
		have = true
		c.open = true
		c.last = c.raw.Ready()
		return c.translate(&r)
	})
	return r, have, err
}

func (c *Core) translate(r *Ready) error {
	rd := &c.last
	must := rd.MustSync
	if !raft.IsEmptyHardState(rd.HardState) {
		c.hard = rd.HardState
		if err := c.mem.SetHardState(rd.HardState); err != nil {
			return err
		}
	}
	r.Persist, c.extra = c.extra, Persist{}
	must = must || !r.Persist.Empty()
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := c.mem.ApplySnapshot(rd.Snapshot); err != nil {
			return fmt.Errorf("install snapshot: %w", err)
		}
		r.Persist.Snapshot, r.Persist.Reset, must = rd.Snapshot, true, true
		c.conf = rd.Snapshot.GetMetadata().GetConfState()
		r.Snapshot = &Snapshot{Index: rd.Snapshot.GetMetadata().GetIndex(), Data: rd.Snapshot.GetData()}
	}
	if err := c.mem.Append(rd.Entries); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	r.Persist.Entries = rd.Entries
	if must { // the commit index alone is not worth a flush: raft finds it again
		r.Persist.Hard = c.hard
	}
	for _, m := range rd.Messages {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode %v: %w", m.GetType(), err)
		}
		r.Messages = append(r.Messages, Message{To: ident.Node(m.GetTo()), Bytes: b})
		if m.GetType() == raftpb.MsgSnap {
			c.snapshots[m.GetTo()] = 0
		}
	}
	for _, e := range rd.CommittedEntries {
		one := Committed{Index: e.GetIndex(), Data: e.GetData()}
		switch e.GetType() {
		case raftpb.EntryNormal:
		case raftpb.EntryConfChangeV2:
			one.Change = &raftpb.ConfChangeV2{}
			if err := proto.Unmarshal(e.GetData(), one.Change); err != nil {
				return fmt.Errorf("%w: entry %d: %w", ErrBroken, e.GetIndex(), err)
			}
			one.Data = one.Change.GetContext()
		default:
			return fmt.Errorf("%w: entry %d of type %v", ErrBroken, e.GetIndex(), e.GetType())
		}
		r.Committed = append(r.Committed, one)
	}
	return nil
}

// Advance says that the work of the last Ready is done.
func (c *Core) Advance() error {
	return c.guard(func() error {
		if !c.open {
			return nil
		}
		c.open = false
		c.raw.Advance(c.last)
		c.last = raft.Ready{}
		c.observe()
		return nil
	})
}

// Compact replaces the log up to an applied index by a snapshot of the state
// there; the next Ready persists it.
func (c *Core) Compact(index uint64, data []byte) error {
	return c.guard(func() error {
		snap, err := c.mem.CreateSnapshot(index, c.conf, data)
		if err != nil {
			return fmt.Errorf("make snapshot at %d: %w", index, err)
		}
		c.extra.Snapshot = snap
		first, err := c.mem.FirstIndex()
		if err != nil || index < first+keepEntries {
			return err
		}
		return c.mem.Compact(index - keepEntries)
	})
}

// countSnapshot ages the snapshots that are on their way.
func (c *Core) countSnapshot(id uint64, _ raft.ProgressType, pr tracker.Progress) {
	if _, sent := c.snapshots[id]; !sent {
		return
	}
	if pr.State != tracker.StateSnapshot {
		delete(c.snapshots, id)
		return
	}
	c.snapshots[id]++
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// silent is the library's logger: what matters of its log is visible in
// Standing, and its panics become ErrBroken.
type silent struct{}

func (silent) Debug(...any)            {}
func (silent) Debugf(string, ...any)   {}
func (silent) Error(...any)            {}
func (silent) Errorf(string, ...any)   {}
func (silent) Info(...any)             {}
func (silent) Infof(string, ...any)    {}
func (silent) Warning(...any)          {}
func (silent) Warningf(string, ...any) {}
func (silent) Fatal(v ...any)          { panic(fmt.Sprint(v...)) }
func (silent) Fatalf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}
func (silent) Panic(v ...any)            { panic(fmt.Sprint(v...)) }
func (silent) Panicf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
