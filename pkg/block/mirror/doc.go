// Package mirror is the heart of the product: it keeps every block of a volume
// group on two nodes and decides when a write may be acknowledged.
//
// # What it is
//
// Core is a pure state machine, one for each node, for all its groups. Requests,
// messages, finished I/O, configurations and the time go in; frames to write,
// blocks to read, messages to send, proposals and finished requests come out
// (Ready). It does no I/O, starts no goroutine and reads no clock, so thousands
// of seeded histories run in seconds. Package volume is its engine.
//
// # The rules
//
// A group's history is one sequence of records, numbered by its primary. The
// configuration {epoch, primary, in-sync set} is chosen by vote outside; Core
// only proposes and obeys:
//
//	R1  a write is acknowledged when durable on every member of the set
//	R2  a replica that durably entered an epoch refuses all older ones
//	R3  shrink: first the vote, durably learned, then acks without the peer
//	R4  grow: first every new ack needs the peer, then it holds everything,
//	    then the vote; until the outcome is known the peer stays required
//	R5  promotion: a member of the set stops accepting, proposes its log's end
//	    as the cut, and serves when its tail is committed
//	R6  with two members the primary reads inside a lease that the peer granted,
//	    checked after the read
//	R7  a sole member goes on without votes; after a restart it asks first
//	R8  a replica to which all is copied lacks everything until a vote takes it in;
//	    a returning replica discards its tail above its own watermark; those
//	    blocks join the resync set
//
// While a proposal is open the group assigns no sequence number, so the cut is
// exact and the outcome may stay unknown for as long as it takes.
//
// # States of the peer, as a primary sees it
//
//	absent --session up--> invited --Join--> live
//	   ^                      |                |
//	   +----- session down, new epoch ---------+
//
// A live peer gets every new record. Inside the set it is a mirror; outside it
// also gets copies of the dirty blocks until none is left, then R4 takes it in.
//
// # What it never does
//
// It never shows an uncommitted write, never applies a record to the extent map
// before it is committed, and never truncates what may have been acknowledged.
//
// PROTOCOL.md describes the messages.
package mirror
