// Package raftnode lets the three voters agree: it drives go.etcd.io/raft/v3,
// keeps its log on disk, and applies what is committed to the cluster state.
//
// It has three floors, and it is the only room that knows raft.
//
//	Core   raft itself: ticks and messages in, work out (Ready, Advance)
//	Voter  Core and a cluster.State: applies, remembers results, snapshots
//	Node   the engine: one loop with a clock, a Store and a transport
//
// Core and Voter are pure: no goroutine, no I/O, no clock, and every random
// choice is drawn from the seed they were given, so the simulation drives the
// same code as the appliance. Store is the durable side; Log is the real one,
// over one bbolt file (FORMAT.md), Memory the one for simulations.
//
// Promises: what Ready hands out to persist is durable before its messages are
// sent. Leadership is sticky: a voter that hears its leader grants no vote
// (PreVote, CheckQuorum), so a voter behind a broken link disturbs nobody. A
// proposal is applied at most once, however often it is sent. A voter that lost
// its log never comes back under the same identity (rule R9).
//
// Who votes changes in one case: a lost node is replaced (decision 13). The command is
// the context of raft's own joint configuration change; the newcomer has a fresh
// identity and begins with an empty log, which a snapshot of its leader fills.
//
// Node also runs a Renewal, the messages of package lease, on the same channel:
// each data node asks all voters, and knows since when a majority vouches for
// it. PROTOCOL.md holds the bytes.
//
// It never decides what to propose, and data never passes through it.
package raftnode
