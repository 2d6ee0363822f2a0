// Package console is the web console of one node: what a person in charge sees of
// the pair, and the few things that are done by hand.
//
// It answers over HTTPS on each node by itself, with a certificate of its own, so
// it is there when the twin is dead and also when the node service of its own node
// is: then it says so, and shows what it last knew with its age.
//
// It owns the sessions, the sign-in limits and a short history of write rates, all
// in memory, and three files of the state folder: console/console.crt and .key,
// which it makes at the first start, and admin-password, which it only reads. What
// it shows is status.Node of this node, never anything made up: a part that was not
// reported lately is marked as old. What it does goes through package api, with its
// roles, rules and audit.
//
// # Pages
//
//	GET  /                     the live page; without scripts it loads itself again
//	GET  /stream               its changed sections, as server-sent events
//	GET  /act/{what}/{name}    asks for confirmation
//	POST /act/{what}/{name}    does it: switch, start, shutdown, off
//	GET  /agents               the counter agents, for operators; what follows is for administrators
//	     /agents/new           makes one, and shows the one-time secret, once
//	     /agents/{name}/{what} renew, reopen (they may show a secret too), close
//	GET  /login, POST /login, POST /logout
//	     /api/v1/              package api, for its token or for a session
//
// A one-time secret is on the page that answers the form, as letters and as a QR code
// drawn into it, and nowhere else: not in an address, a cookie or a log, nor in memory
// once the page is sent.
//
// # Signing in
//
// A user of the voted state signs in with the password and, if the account has
// one, the code of its authenticator. Before the first user exists, the name admin
// with the content of admin-password does; that makes the account admin in the
// voted state, and from then on the file opens nothing.
//
// The console never decides where anything runs, and keeps nothing that a restart
// may not lose.
package console
