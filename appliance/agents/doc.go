// Package agents is how the console of a node speaks with its citizen service about
// the counter agents of the town hall: what the socket "citizen" carries, and the
// client of it. Package town answers.
//
//	GET  /v1/agents                 []Agent
//	POST /v1/agents                 New      -> Enrolment
//	POST /v1/agents/{name}/renew    Renewal  -> Enrolment, empty if the one-time secret stays
//	POST /v1/agents/{name}/reopen   Renewal  -> Enrolment
//	POST /v1/agents/{name}/close    Closing  -> Closed
//
// What was not done is an *Error with a Code. A node that does not serve citizens has
// no agents to speak of: it answers NotServing, whatever is asked.
//
// The package keeps nothing and logs nothing: passwords and secrets pass through it.
package agents
