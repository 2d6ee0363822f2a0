// Package transport joins the voters of one pair: framed messages between
// mutually authenticated peers, over several paths.
//
// It owns the connections. An Endpoint sends two kinds of message. Control
// messages are small and best effort, over the first live path. Data messages
// belong to a session: ordered and exactly once, over one data path at a time.
// When that path dies the session ends, and a new one with a higher number
// begins over the next live path.
//
//	            dial or accept            first pong
//	[no link] -----------------> [linked] ----------> [live]
//	    ^                            |                   |
//	    +---- error, or no pong for Timing.Dead ---------+
//
//	               a data path is live          path dies, error, replaced
//	[no session] ----------------------> [up n] ---------------------------> [no session]
//	                  SessionUp(n)                      SessionDown(n)
//
// Promises: calls to the Handler for one peer come one at a time. No message of
// a session is delivered before its SessionUp or after its SessionDown. There
// is never more than one session with a peer. A path is live only with a recent
// round trip, so black holes and one-way links are noticed on both sides. Every
// queue, frame and handshake has a bound. A peer is known by its pinned key
// alone: no certificate has a date that matters, and a wrong clock is never a
// reason to refuse.
//
// It never retries a message, never looks into one, and never decides who leads.
//
// Mesh is the real Endpoint, over TCP and TLS 1.3; PROTOCOL.md holds its bytes.
// Package simnet is the simulated one; both pass the suite of transporttest.
// Mux shares the control messages of one Endpoint between several rooms.
package transport
