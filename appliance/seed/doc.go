// Package seed is the first configuration of a node, as it lies raw in the seed
// partition of an image: who the node is, whom it trusts, its network, and the
// first administrator.
//
// The partition holds one seed, or zeros. Numbers are little-endian:
//
//	offset  size  field
//	0       8     magic "BFRSEED\0"
//	8       4     version, 1; a reader refuses a higher one
//	12      4     length of the document, bytes; at most 1 MiB
//	16      32    SHA-256 of the document
//	48            the document: JSON, type Seed
//
// A seed holds a private key: Erase overwrites it once the node has made it its
// own. The package never decides when to take one.
package seed
