// Package agent knows the people of the town hall: their passwords, their
// one-time codes, their sessions, and what they did.
//
// It owns the tables agent, session and audit of the store. A login needs name,
// password (argon2id) and a time-based code (RFC 6238) that is accepted once. A
// session is a random token of which only the hash is stored; it lives in the
// mirrored store, so that a failover logs nobody out. Every login, failed login,
// logout and provisioning is a line of a hash chain.
//
// It promises comparisons in constant time, the same work for a name that does
// not exist, limits for each account and each address, and bounded memory: one
// password is hashed at a time.
package agent
