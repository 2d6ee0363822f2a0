// Package web is what citizens and agents see.
//
// Pages are made on the server from templates and work without scripts; one
// small script of our own keeps a draft of the form in the browser, shows the
// photo, and sends a filing again while the town hall switches from one site to
// the other. French is the reference, English is complete. Nothing is loaded
// from anywhere else, and the content security policy says so.
//
// Every page that touches the store is made in memory first and sent only if
// this node still serves when it is ready: a page that might be stale, or an
// acknowledgment that might not be true, becomes a 503 that says "try again".
// Its Beffroi-Retry header tells a proxy whether anything was begun.
//
// It promises that bad input gives the form back with everything the citizen
// typed and the photo that was sent; that every POST that changes a case
// carries a token and happens once; and that cross-origin posts are refused.
//
// It never decides what a receipt may say: package casefile does.
package web
