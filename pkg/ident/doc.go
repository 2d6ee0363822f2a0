// Package ident holds the vocabulary of the product: distinct types for nodes,
// replicas, groups, volumes, virtual machines, epochs and sequence numbers.
//
// It parses and prints, and does nothing else. Every other package uses these
// types instead of plain integers and strings, so that a node can never be
// passed where a group is meant.
package ident
