// Package casefile is the case: filed by a citizen, answered and closed by an
// agent, followed by its tracking code.
//
// It owns the tables casefile, case_file, event, upload and definition of the
// store. Every change is one transaction with one event; events are chained by
// hash, so that a line taken out or changed later shows.
//
//	          answer            answer
//	         ┌──────┐          ┌──────┐
//	         ▼      │          ▼      │
//	filed ──────► answered ──► closed ──────► reopened ──► answered | closed
//	   └──────────────────────────▲  close      reopen
//
// It promises: one form token files exactly once, whatever crashes between the
// attempts (a unique constraint decides, the later attempt gets the first
// receipt); a receipt says "on both sites" only if this node served, with two
// copies in the same epoch, before and after the commit; when the node serves
// no more after the work, there is no receipt at all and the caller tries again.
// An act of an agent carries a token too and happens once.
//
// It never sends messages and knows nothing of HTTP.
package casefile
