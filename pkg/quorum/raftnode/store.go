package raftnode

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Store keeps what a voter has promised. It is owned by one caller.
type Store interface {
	// Restore returns the sum of all that was persisted; a zero Restored if
	// nothing ever was.
	Restore() (Restored, error)
	// Persist returns when p is durable, all of it or, after a crash in the
	// midst, none of it. After an error the store is failed and the voter must
	// stop: what is on the disk is then unknown.
	Persist(p Persist) error
	Close() error
}

var (
	// ErrAmnesia is returned for a log that is empty although its voter took
	// part before: it may have forgotten promises and must not vote (R9).
	ErrAmnesia = errors.New("this voter's log is gone; it must join again under a new identity: a node is replaced at its twin's console")
	// ErrGap is returned for entries that do not follow what is stored.
	ErrGap = errors.New("log entries do not follow")
	// ErrStoreFailed is returned by everything after a failed Persist.
	ErrStoreFailed = errors.New("vote store failed")
)

// Apply adds p to r, as every Store does.
func (r *Restored) Apply(p Persist) error {
	if p.Snapshot != nil {
		r.Snapshot = p.Snapshot
		index := p.Snapshot.GetMetadata().GetIndex()
		if p.Reset {
			r.Entries = nil
		}
		for len(r.Entries) > 0 && r.Entries[0].GetIndex() <= index {
			r.Entries = r.Entries[1:]
		}
	}
	if len(p.Entries) > 0 {
		first := p.Entries[0].GetIndex()
		base := r.Snapshot.GetMetadata().GetIndex()
		if first <= base || first > base+uint64(len(r.Entries))+1 {
			return fmt.Errorf("%w: entry %d after a snapshot at %d and %d entries", ErrGap, first, base, len(r.Entries))
		}
		kept := first - base - 1
		r.Entries = append(r.Entries[:kept:kept], p.Entries...)
	}
	if p.Hard != nil {
		r.Hard = p.Hard
	}
	return nil
}

// Memory is the Store of a simulation: as durable as the simulated world. The
// same Memory is handed to the voter's next life.
type Memory struct {
	Fail  error // when set, Persist fails with it, for ever
	held  Restored
	Count int // successful calls of Persist
}

// Restore returns a copy of what is held.
func (m *Memory) Restore() (Restored, error) {
	var r Restored
	if m.held.Hard != nil {
		r.Hard = proto.Clone(m.held.Hard).(*raftpb.HardState)
	}
	if m.held.Snapshot != nil {
		r.Snapshot = proto.Clone(m.held.Snapshot).(*raftpb.Snapshot)
	}
	for _, e := range m.held.Entries {
		r.Entries = append(r.Entries, proto.Clone(e).(*raftpb.Entry))
	}
	return r, nil
}

// Persist adds p.
func (m *Memory) Persist(p Persist) error {
	if m.Fail != nil {
		return fmt.Errorf("%w: %w", ErrStoreFailed, m.Fail)
	}
	next := m.held
	if err := next.Apply(p); err != nil {
		m.Fail = err
		return err
	}
	m.held = next
	m.Count++
	return nil
}

// Close does nothing: the world goes on.
func (m *Memory) Close() error { return nil }
