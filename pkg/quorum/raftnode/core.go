package raftnode

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"beffroi.dev/pkg/ident"
)

// Bounds of raft's own messages: one control message of the transport carries
// an append or a snapshot with room to spare.
const (
	maxAppendBytes      = 256 << 10
	maxUncommittedBytes = 4 << 20
	maxInflight         = 64
)

// keepEntries is how many entries stay in memory before a snapshot, so that a
// voter that is a little behind needs no snapshot.
const keepEntries = 256

var (
	// ErrDropped is returned when raft cannot take a proposal now: there is no
	// leader, or too much is uncommitted.
	ErrDropped = errors.New("proposal dropped")
	// ErrBroken is wrapped by every error after raft found a contradiction, such
	// as a log that lost what it had acknowledged. The voter must stop for good.
	ErrBroken = errors.New("voter contradicts its own past")
	// ErrMessage is wrapped for a message that is not one of our raft's.
	ErrMessage = errors.New("bad raft message")
)

// Role is what a voter is in its term.
type Role string

// The roles.
const (
	Follower     Role = "follower"
	PreCandidate Role = "pre-candidate"
	Candidate    Role = "candidate"
	Leader       Role = "leader"
)

var roles = map[raft.StateType]Role{
	raft.StateFollower: Follower, raft.StatePreCandidate: PreCandidate, raft.StateCandidate: Candidate, raft.StateLeader: Leader,
}

// CoreConfig configures a Core.
type CoreConfig struct {
	Self           ident.Node
	ElectionTicks  int // without a leader for this many ticks, and up to twice that, a voter campaigns
	HeartbeatTicks int // between two heartbeats of a leader
	// Joins lets a voter begin without a log: it was voted in, and the leader hands it
	// all. Until then it is a member of nothing that it knows, and never campaigns.
	Joins bool
	Seed  uint64 // of the election jitter; differs from voter to voter
}

// Validate reports all faults.
func (c CoreConfig) Validate() error {
	var faults []error
	if c.Self == 0 {
		faults = append(faults, errors.New("no identity"))
	}
	if c.HeartbeatTicks < 1 || c.ElectionTicks < 3*c.HeartbeatTicks {
		faults = append(faults, fmt.Errorf("election after %d ticks, heartbeat every %d: want at least three heartbeats", c.ElectionTicks, c.HeartbeatTicks))
	}
	return errors.Join(faults...)
}

// Persist is what must be durable before the messages of the same Ready go out.
// The parts are applied in the order of the fields.
type Persist struct {
	Snapshot *raftpb.Snapshot  // nil: none
	Reset    bool              // with Snapshot: forget all entries; else those up to its index
	Entries  []*raftpb.Entry   // replace all entries from the first one's index on
	Hard     *raftpb.HardState // nil: unchanged
}

// Empty reports whether there is nothing to persist.
func (p Persist) Empty() bool { return p.Snapshot == nil && len(p.Entries) == 0 && p.Hard == nil }

// Restored is what a Store holds: the sum of all that was persisted.
type Restored struct {
	Hard     *raftpb.HardState
	Snapshot *raftpb.Snapshot
	Entries  []*raftpb.Entry // those after the snapshot
}

// Message is one message for another voter.
type Message struct {
	To    ident.Node
	Bytes []byte
}

// Committed is one committed entry; raft's own have no data.
type Committed struct {
	Index  uint64
	Data   []byte
	Change *raftpb.ConfChangeV2 // of who votes; it counts when ApplyChange is called with it
}

// Snapshot replaces the state up to an index.
type Snapshot struct {
	Index uint64
	Data  []byte
}

// Ready is the work that a Core wants done: persist, then send, then install
// the snapshot, then apply, then Advance.
type Ready struct {
	Persist   Persist
	Messages  []Message
	Snapshot  *Snapshot // from the leader, to be installed
	Committed []Committed
}

// Standing describes a voter in its term.
type Standing struct {
	Term   uint64     `json:"term"`
	Role   Role       `json:"role"`
	Leader ident.Node `json:"leader"`
	Commit uint64     `json:"commit"`
}

// Core is raft for one voter, without I/O, clock or goroutine. It is owned by
// one caller.
//
// It keeps the election timer itself, because the library draws its jitter from
// the system's entropy and one seed must give one history: followers' ticks
// only age the library's leader lease, and Core starts the campaign.
type Core struct {
	cfg  CoreConfig
	rng  *rand.Rand
	mem  *raft.MemoryStorage
	raw  *raft.RawNode
	last raft.Ready
	open bool // a Ready is out
	hard *raftpb.HardState
	conf *raftpb.ConfState // who votes, as of what was applied

	elapsed int // ticks since the last sign of a leader, or the last campaign
	timeout int // ticks until the next campaign
	seen    Standing
	vote    uint64

	snapshots map[uint64]int // ticks since a snapshot was sent, by voter
	extra     Persist        // a snapshot of our own, for the next Ready
	broken    error
}

// NewCore starts from what the store holds.
func NewCore(cfg CoreConfig, from Restored) (*Core, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("raft configuration: %w", err)
	}
	c := &Core{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Self))), mem: raft.NewMemoryStorage(), snapshots: map[uint64]int{}}
	if err := c.load(from); err != nil {
		return nil, fmt.Errorf("restore votes: %w: %w", ErrBroken, err)
	}
	err := c.guard(func() error {
		raw, err := raft.NewRawNode(&raft.Config{
			ID: uint64(cfg.Self), ElectionTick: cfg.ElectionTicks, HeartbeatTick: cfg.HeartbeatTicks, Storage: c.mem,
			Applied: from.Snapshot.GetMetadata().GetIndex(), MaxSizePerMsg: maxAppendBytes, MaxCommittedSizePerReady: maxAppendBytes,
			MaxUncommittedEntriesSize: maxUncommittedBytes, MaxInflightMsgs: maxInflight,
			CheckQuorum: true, PreVote: true, Logger: silent{},
		})
		c.raw = raw
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	c.rest()
	c.seen, c.vote = c.standing()
	return c, nil
}

// load checks that what was restored is whole before raft sees it.
func (c *Core) load(from Restored) error {
	c.hard = &raftpb.HardState{}
	if from.Hard != nil {
		c.hard = proto.Clone(from.Hard).(*raftpb.HardState)
	}
	if from.Snapshot == nil && c.cfg.Joins {
		if len(from.Entries) > 0 || c.hard.GetCommit() > 0 {
			return errors.New("entries without a snapshot")
		}
		return c.mem.SetHardState(c.hard)
	}
	meta := from.Snapshot.GetMetadata()
	if meta.GetIndex() == 0 || !slices.Contains(meta.GetConfState().GetVoters(), uint64(c.cfg.Self)) {
		return errors.New("no snapshot with this voter in it")
	}
	last := meta.GetIndex()
	for _, e := range from.Entries {
		if e.GetIndex() != last+1 {
			return fmt.Errorf("entry %d follows %d", e.GetIndex(), last)
		}
		last++
	}
	c.conf = meta.GetConfState()
	if c.hard.GetCommit() < meta.GetIndex() {
		c.hard.Commit = new(meta.GetIndex())
	}
	if c.hard.GetCommit() > last || c.hard.GetTerm() < meta.GetTerm() {
		return fmt.Errorf("commit %d of term %d, but the log ends at %d", c.hard.GetCommit(), c.hard.GetTerm(), last)
	}
	if err := c.mem.ApplySnapshot(from.Snapshot); err != nil {
		return err
	}
	if err := c.mem.SetHardState(c.hard); err != nil {
		return err
	}
	return c.mem.Append(from.Entries)
}

// guard turns the library's panics into ErrBroken, for good.
func (c *Core) guard(f func() error) (err error) {
	if c.broken != nil {
		return c.broken
	}
	defer func() {
		if p := recover(); p != nil {
			c.broken = fmt.Errorf("%w: %v", ErrBroken, p)
			err = c.broken
		}
	}()
	return f()
}

func (c *Core) standing() (Standing, uint64) {
	st := c.raw.BasicStatus()
	return Standing{Term: st.GetTerm(), Role: roles[st.RaftState], Leader: ident.Node(st.Lead), Commit: st.GetCommit()}, st.GetVote()
}

// Standing describes the voter now.
func (c *Core) Standing() Standing { st, _ := c.standing(); return st }

// rest begins a new election timeout.
func (c *Core) rest() {
	c.elapsed = 0
	c.timeout = c.cfg.ElectionTicks + c.rng.IntN(c.cfg.ElectionTicks)
}

// observe begins a new election timeout after every change of term, role,
// leader or vote: the moments at which raft itself does.
func (c *Core) observe() {
	now, vote := c.standing()
	was := c.seen
	c.seen = now
	if now.Term != was.Term || now.Role != was.Role || now.Leader != was.Leader || vote != c.vote {
		c.vote = vote
		c.rest()
	}
}

// Tick lets one tick pass.
func (c *Core) Tick() error {
	return c.guard(func() error {
		defer c.observe()
		if c.seen.Role == Leader {
			c.retrySnapshots()
			c.raw.Tick()
			return nil
		}
		c.raw.TickQuiesced()
		if c.elapsed++; c.elapsed >= c.timeout {
			c.rest()
			return c.raw.Campaign()
		}
		return nil
	})
}

// retrySnapshots sends a snapshot again that was not answered for an election
// time: control messages may be lost.
func (c *Core) retrySnapshots() {
	c.raw.WithProgress(c.countSnapshot)
	for _, id := range sortedKeys(c.snapshots) {
		if c.snapshots[id] >= c.cfg.ElectionTicks {
			delete(c.snapshots, id)
			c.raw.ReportSnapshot(id, raft.SnapshotFailure)
		}
	}
}

// Campaign starts an election now.
func (c *Core) Campaign() error {
	return c.guard(func() error { defer c.observe(); c.rest(); return c.raw.Campaign() })
}

// Transfer hands leadership to another voter, if this one leads.
func (c *Core) Transfer(to ident.Node) error {
	return c.guard(func() error { defer c.observe(); c.raw.TransferLeader(uint64(to)); return nil })
}

// Propose asks for data to be committed; followers forward it to the leader.
func (c *Core) Propose(data []byte) error {
	return c.guard(func() error {
		if err := c.raw.Propose(data); err != nil {
			return fmt.Errorf("%w: %w", ErrDropped, err)
		}
		return nil
	})
}

// ProposeChange asks for a change of who votes: old goes and fresh comes, in one step
// that needs a majority of both sets. The data comes back with it.
func (c *Core) ProposeChange(old, fresh ident.Node, data []byte) error {
	return c.guard(func() error {
		change := &raftpb.ConfChangeV2{Context: data, Changes: []*raftpb.ConfChangeSingle{
			{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: new(uint64(old))},
			{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: new(uint64(fresh))},
		}}
		if err := c.raw.ProposeConfChange(change); err != nil {
			return fmt.Errorf("%w: %w", ErrDropped, err)
		}
		return nil
	})
}

// ApplyChange makes a committed change of who votes count, or one that raft itself
// made: the end of such a change. It is called between Ready and Advance, or not at
// all when the change is refused.
func (c *Core) ApplyChange(change *raftpb.ConfChangeV2) error {
	return c.guard(func() error { c.conf = c.raw.ApplyConfChange(change); return nil })
}

// Step takes a message that another voter's Core made.
func (c *Core) Step(from ident.Node, b []byte) error {
	var m raftpb.Message
	if err := proto.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if m.GetFrom() != uint64(from) || m.GetTo() != uint64(c.cfg.Self) || !travels(m.GetType()) {
		return fmt.Errorf("%w: %v from %x to %x", ErrMessage, m.GetType(), m.GetFrom(), m.GetTo())
	}
	return c.guard(func() error {
		err := c.raw.Step(&m)
		if errors.Is(err, raft.ErrProposalDropped) {
			err = nil // a forwarded proposal; its proposer tries again
		}
		if errors.Is(err, raft.ErrStepPeerNotFound) {
			err = fmt.Errorf("%w: from %x, who does not vote here", ErrMessage, m.GetFrom())
		}
		c.observe()
		leads := m.GetType() == raftpb.MsgApp || m.GetType() == raftpb.MsgHeartbeat || m.GetType() == raftpb.MsgSnap
		if leads && m.GetTerm() == c.seen.Term && from == c.seen.Leader {
			c.elapsed = 0
		}
		return err
	})
}

// travels tells which kinds of message voters send each other.
func travels(t raftpb.MessageType) bool {
	switch t {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp,
		raftpb.MsgSnap, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp, raftpb.MsgProp, raftpb.MsgTimeoutNow, raftpb.MsgTransferLeader:
		return true
	}
	return false
}
