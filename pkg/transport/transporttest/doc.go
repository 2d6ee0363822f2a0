// Package transporttest is the conformance suite of transport.Endpoint.
//
// A World builds two ends joined by two data paths and can break them. The real
// mesh and the simulated one pass the same suite. It owns the expectations and
// nothing else; it never looks behind the Endpoint.
package transporttest
