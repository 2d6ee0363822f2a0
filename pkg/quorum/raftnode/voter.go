package raftnode

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// SnapshotEvery is how many entries are applied between two snapshots: a
// restart replays at most these, and the log never holds more for long.
const SnapshotEvery = 1000

// maxStateBytes bounds an unpacked snapshot; the state's own bounds lie far below.
const maxStateBytes = 16 << 20

// genesisIndex is where every log begins: a snapshot with the genesis state and
// the voters, the same on all three.
const genesisIndex = 1

// VoterConfig configures a Voter.
type VoterConfig struct {
	Core          CoreConfig
	SnapshotEvery uint64 // 0 means SnapshotEvery
	// Until is what State shows of a voter that joins, until its leader has handed it
	// the true one: the members, with index 0.
	Until *cluster.State
}

// Applied is what became of one committed entry.
type Applied struct {
	Index  uint64
	ID     cluster.ProposalID
	Result cluster.Result
}

// Work is what a Voter wants done: persist durably, then send. Both before
// anything else is called, and then Done. What was applied is applied already
// in State; it may be told to others only after Persist.
type Work struct {
	Persist   Persist
	Messages  []Message
	Applied   []Applied
	Installed bool // the state was replaced by a snapshot
}

// Voter is a Core with the cluster state: still pure.
type Voter struct {
	core  *Core
	every uint64
	state *cluster.State
	snap  uint64 // index of the last snapshot
	moved bool   // who votes has changed since
}

// Genesis is what a store holds before its voter first starts: the state that
// all voters begin with. It must be the same, byte for byte, on each.
func Genesis(s *cluster.State) (Persist, error) {
	if err := s.Check(); err != nil {
		return Persist{}, fmt.Errorf("genesis: %w", err)
	}
	g := s.Clone()
	g.Index = genesisIndex
	data, err := pack(g)
	if err != nil {
		return Persist{}, err
	}
	var voters []uint64
	for _, id := range g.Voters() {
		voters = append(voters, uint64(id))
	}
	if len(voters) == 0 {
		return Persist{}, errors.New("genesis: no voters")
	}
	return Persist{
		Reset: true,
		Snapshot: &raftpb.Snapshot{Data: data, Metadata: &raftpb.SnapshotMetadata{
			Index: new(uint64(genesisIndex)), Term: new(uint64(1)), ConfState: &raftpb.ConfState{Voters: voters},
		}},
		Hard: &raftpb.HardState{Term: new(uint64(1)), Commit: new(uint64(genesisIndex))},
	}, nil
}

// NewVoter starts from what the store holds.
func NewVoter(cfg VoterConfig, from Restored) (*Voter, error) {
	core, err := NewCore(cfg.Core, from)
	if err != nil {
		return nil, err
	}
	s := cfg.Until
	if from.Snapshot != nil {
		if s, err = unpack(from.Snapshot.GetData()); err != nil {
			return nil, fmt.Errorf("restore state: %w", err)
		}
	}
	v := &Voter{core: core, every: cfg.SnapshotEvery, state: s, snap: from.Snapshot.GetMetadata().GetIndex()}
	if v.every == 0 {
		v.every = SnapshotEvery
	}
	return v, nil
}

// State is the voter's own copy: to be read, never changed, until the next call.
func (v *Voter) State() *cluster.State { return v.state }

// Standing describes the voter in its term.
func (v *Voter) Standing() Standing { return v.core.Standing() }

// Tick lets one tick pass.
func (v *Voter) Tick() error { return v.core.Tick() }

// Step takes a message from another voter.
func (v *Voter) Step(from ident.Node, b []byte) error { return v.core.Step(from, b) }

// Campaign starts an election now.
func (v *Voter) Campaign() error { return v.core.Campaign() }

// Transfer hands leadership to another voter.
func (v *Voter) Transfer(to ident.Node) error { return v.core.Transfer(to) }

// Propose asks for an encoded command to be committed. It may be lost, and may
// be proposed again: its identity makes it take effect once.
func (v *Voter) Propose(command []byte) error {
	if c, err := cluster.DecodeCommand(command); err == nil {
		if a, ok := c.Do.(*cluster.ReplaceNode); ok {
			return v.core.ProposeChange(a.Old, a.Node, command)
		}
	}
	return v.core.Propose(command)
}

// change applies an entry that changes who votes. The rules of the state decide; an
// entry that raft made, to end a change, has no command.
func (v *Voter) change(e Committed) (cluster.ProposalID, cluster.Result, error) {
	before := v.state.Voters()
	id, res := cluster.ApplyChange(v.state, e.Index, e.Data)
	if len(e.Data) > 0 && slices.Equal(before, v.state.Voters()) { // refused, or done before
		return id, res, nil
	}
	v.moved = true
	return id, res, v.core.ApplyChange(e.Change)
}

// Work returns what is to do, having applied what was committed.
func (v *Voter) Work() (Work, bool, error) {
	rd, have, err := v.core.Ready()
	if err != nil || !have {
		return Work{}, false, err
	}
	w := Work{Persist: rd.Persist, Messages: rd.Messages}
	if rd.Snapshot != nil {
		s, err := unpack(rd.Snapshot.Data)
		if err != nil {
			return Work{}, false, fmt.Errorf("install snapshot: %w", err)
		}
		v.state, v.snap, v.moved, w.Installed = s, rd.Snapshot.Index, false, true
	}
	for _, e := range rd.Committed {
		if e.Change != nil {
			id, res, err := v.change(e)
			if err != nil {
				return Work{}, false, err
			}
			w.Applied = append(w.Applied, Applied{Index: e.Index, ID: id, Result: res})
			continue
		}
		id, res := cluster.ApplyEntry(v.state, e.Index, e.Data)
		w.Applied = append(w.Applied, Applied{Index: e.Index, ID: id, Result: res})
	}
	return w, true, nil
}

// Done says that the last Work is done: durable and sent. A change of who votes makes a
// snapshot at once: a new voter takes none in which it is not named.
func (v *Voter) Done() error {
	if err := v.core.Advance(); err != nil {
		return err
	}
	if v.state.Index < v.snap+v.every && !v.moved {
		return nil
	}
	data, err := pack(v.state)
	if err != nil {
		return err
	}
	v.snap, v.moved = v.state.Index, false
	return v.core.Compact(v.snap, data)
}

// pack writes a snapshot: the state's JSON, compressed so that it fits one
// control message with ease.
func pack(s *cluster.State) ([]byte, error) {
	b, err := s.Encode()
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("pack snapshot: %w", err)
	}
	if _, err := w.Write(b); err != nil {
		return nil, fmt.Errorf("pack snapshot: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack snapshot: %w", err)
	}
	return buf.Bytes(), nil
}

func unpack(b []byte) (*cluster.State, error) {
	r := flate.NewReader(bytes.NewReader(b))
	raw, err := io.ReadAll(io.LimitReader(r, maxStateBytes+1))
	if err != nil {
		return nil, fmt.Errorf("unpack snapshot: %w", err)
	}
	if len(raw) > maxStateBytes {
		return nil, fmt.Errorf("unpack snapshot: more than %d bytes", maxStateBytes)
	}
	return cluster.Decode(raw)
}
