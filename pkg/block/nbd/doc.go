// Package nbd speaks the network block device protocol, both ways.
//
// A Server offers disk queues ("exports") to NBD clients, which are QEMU above
// all: fixed newstyle negotiation, structured replies, base:allocation, and
// every command of the baseline. A Client is a disk.Queue over somebody's NBD
// server, which reconnects by itself. PROTOCOL.md beside this file holds the
// byte tables.
//
// # Server
//
// One goroutine reads a connection, one writes it:
//
//	socket -> reader -> every request of its buffer -> one Queue.Submit
//	socket <- whoever finished requests, else the writer <- Request.Done, Sink.Settle
//
// The reader copies a payload at most once (a large one is read straight into
// its request). Replies are sent by the goroutine that finished the requests, all
// of a Settle with one system call that never waits; what the socket does not take
// at once, and large read data, is left to the writer. Requests and their buffers are pooled. Past Config.MaxInFlight
// requests or Config.MaxInFlightBytes the reader stops reading, so a client
// that does not take its replies holds nothing but its own connection.
//
// Promises:
//
//   - A reply is sent only after the queue finished the request; flush goes to
//     the queue, whose flush covers all connections, so multi-conn is honest.
//   - ESHUTDOWN is never sent. A request that ends with disk.ErrClosed, and every
//     request after Drain, gets no reply: what is in flight is answered, then the
//     connection closes, and the client connects again and sends them again.
//   - A new connection of an export is not served while requests of an ended
//     connection are still with the queue, so an old write can never land on top
//     of a newer one. What an ended connection sent and was not yet read is
//     dropped. The wait is bounded by Config.SettleWait.
//   - The payload of a refused write is drained. Bytes that cannot be followed
//     (bad magic, an oversized length) end the connection, are counted by reason
//     and logged at most once a second per reason.
//
// # Client
//
// The client keeps requests during an outage and sends again those that had no
// reply, after the old connection is closed (block operations are idempotent),
// until Hold has passed; then they end with disk.ErrTimeout.
//
// The package never interprets what it carries, never retries a request that was
// answered with an error, and never listens on an address by itself.
package nbd
