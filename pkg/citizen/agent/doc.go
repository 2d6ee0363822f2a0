// Package agent knows the people of the town hall: their passwords, their
// one-time codes, their sessions, and what they did.
//
// It owns the tables agent, session and audit of the store. A login needs name,
// password (argon2id) and a time-based code (RFC 6238) that is accepted once. A
// session is a random token of which only the hash is stored; it lives in the
// mirrored store, so that a failover logs nobody out.
//
// Agents are made, renewed, closed and reopened for the operators of the appliance,
// never by a page of this service. To renew or to close ends the agent's sessions in
// the same transaction. An agent is never deleted: one who is closed keeps the name,
// which others' work and the audit trail refer to, and loses password and secret, so
// that to reopen is to give new ones. Every login, failed login, logout, provisioning,
// renewal, closing and reopening is a line of a hash chain, with the operator's name
// where one asked.
//
// It promises comparisons in constant time, the same work for a name that does
// not exist or is closed, limits for each account and each address, and bounded
// memory: one password is hashed at a time.
package agent
