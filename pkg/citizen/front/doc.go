// Package front is where citizens' requests arrive, on either node.
//
// A Front hands a request to the node that serves: this one, through a handler,
// or the other, as a proxy. While nobody serves (a switch, planned or not) it
// holds requests instead of failing them, a bounded number for a bounded time.
// When the serving node dies with a request in its hands, the Front sends it
// again where that is safe:
//
//	what happened                            safe to send again
//	connection refused, nothing was sent     any request
//	503 with Beffroi-Retry: refused          any request
//	503 with Beffroi-Retry: unknown          GET, HEAD, and POST with a token
//	sent, and no whole answer came           GET, HEAD, and POST with a token
//
// A token (the query parameter jeton) makes a POST happen once. Bodies are kept
// in memory for this, up to a bound for each and for all; a larger one is passed
// through and never sent twice.
//
// It promises that an answer reaches the browser whole or not at all, up to the
// bound of an answer. It decides nothing: who serves is told by a function.
package front
