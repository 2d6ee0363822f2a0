// Package operator is what a person at a node's console may ask of init: to found a
// pair, to have a lost twin replaced, and to change the node's own network.
//
// It is one unix socket, mode 0600, with two questions over HTTP: GET /v1/state, and
// POST /v1/do with an Ask. The console (appliance/rescue) is its client and holds no
// authority; init decides and acts. Server and Client live here so that they agree
// on the words; what they mean is the Desk's.
//
// Everything is bounded, nothing unknown is taken, and a refusal is a pairing.Fault:
// a reason that the console has words for.
package operator
