// Package frame is the codec of records, shared by the disk and the wire.
//
// A Record is one step in the history of a volume group: a write, an unmap, a
// resync copy, or a control record (the entry into an epoch, a commit
// watermark, a truncation). A frame is a container of records of several
// groups: a header with a table of records, then their payload blocks. The
// order of frames on a disk is local to the node; identity belongs to the
// records (group, epoch, seq).
//
// FORMAT.md gives the byte tables. The package encodes and decodes bytes and
// never does I/O. Decoding is bounded: a table that claims more than its bytes
// can hold is refused before anything is allocated for it.
package frame
