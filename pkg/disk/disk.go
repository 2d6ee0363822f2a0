package disk

import (
	"errors"
	"io"
	"slices"
)

// BlockSize is the unit of the product: checksums, maps and alignment, bytes.
const BlockSize = 4096

// SectorSize is the unit that a device writes without tearing, bytes.
const SectorSize = 512

var (
	// ErrFailed is returned by everything after a write or sync of the device failed.
	ErrFailed = errors.New("device failed")
	// ErrNoSpace is returned when there is no room for an allocating write.
	ErrNoSpace = errors.New("no space left in the store")
	// ErrOutOfRange is returned for a request that does not lie within the device.
	ErrOutOfRange = errors.New("request outside the device")
	// ErrNotSupported is returned for an operation that this device cannot do
	// (Zero with the FastZero flag when it would not be fast).
	ErrNotSupported = errors.New("operation not supported")
	// ErrClosed is returned by a device that was closed or withdrawn.
	ErrClosed = errors.New("device closed")
	// ErrReadOnly is returned for a write to a read-only device.
	ErrReadOnly = errors.New("device is read-only")
	// ErrCorrupt is returned for a block whose checksum does not match and that
	// could not be repaired.
	ErrCorrupt = errors.New("block is corrupt")
	// ErrTimeout is returned for a request that stayed undecided too long.
	ErrTimeout = errors.New("request timed out")
)

// Device is a block device. Its methods may be called concurrently. Slices
// belong to the caller and are not kept.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when every write that returned before is durable.
	Sync() error
	// Size is the device's length in bytes; it does not change while open.
	Size() int64
	Close() error
}

// Op is what a Request asks for.
type Op uint8

// The operations of a Queue.
const (
	Read   Op = iota + 1
	Write     // with FUA: durable when done
	Flush     // durable: all writes that were done before it was submitted
	Trim      // the range may be forgotten; it reads as zeros or as before
	Zero      // the range reads as zeros
	Cache     // the range will be read soon
	Status    // which parts of the range are allocated
)

var opNames = [...]string{Read: "read", Write: "write", Flush: "flush", Trim: "trim", Zero: "zero", Cache: "cache", Status: "status"}

// String names the operation.
func (o Op) String() string {
	if int(o) < len(opNames) && opNames[o] != "" {
		return opNames[o]
	}
	return "unknown"
}

// Flags modify a Request.
type Flags uint8

// The flags of a Request.
const (
	FUA      Flags = 1 << iota // Write, Trim, Zero: durable when done
	NoHole                     // Zero: keep the range allocated
	FastZero                   // Zero: fail with ErrNotSupported unless it is fast
)

// Extent is one answer of Status: a run of bytes that is all of one kind.
type Extent struct {
	Len  int64
	Hole bool // not allocated
	Zero bool // reads as zeros
}

// Request is one operation on a Queue. The submitter fills the first block of
// fields and must not touch the request, nor Data, until Done was called. The
// queue fills the second block and then ends it with Finish, which calls Done
// exactly once, on a goroutine of the queue's choice: Done must not block.
type Request struct {
	Op    Op
	Flags Flags
	Off   int64  // bytes
	Len   int64  // bytes; len(Data) for Read and Write
	Data  []byte // Read: filled; Write: read
	Done  func(*Request)
	Sink  Sink // may be nil

	Err     error    // wraps one of the errors of this package, or anything for an I/O error
	Extents []Extent // Status: covers the range from Off, at least one when Err is nil
}

// Sink answers for many requests at a time: what Done gathered is sent when the
// queue has no more to say.
type Sink interface {
	// Settle is called after one or more requests of this sink were done. It must
	// not block.
	Settle()
}

// Finish ends requests: it calls Done of each, then once Settle of each sink. A
// queue ends its requests through Finish only.
func Finish(batch ...*Request) {
	var few [4]Sink
	sinks := few[:0]
	for _, r := range batch {
		s := r.Sink // Done may give the request to another
		r.Done(r)
		if s != nil && !slices.Contains(sinks, s) {
			sinks = append(sinks, s)
		}
	}
	for _, s := range sinks {
		s.Settle()
	}
}

// Queue is the asynchronous face of a block device. Requests of one Submit, and
// of several, may complete in any order; a request that must follow another is
// submitted after the other was done. Unaligned requests are allowed.
type Queue interface {
	// Submit takes a batch. It may block for a bounded time when too much is in
	// flight (backpressure). The slice itself may be reused after it returns.
	Submit(batch []*Request)
	// Size is the device's length in bytes.
	Size() int64
}

// CheckRange returns ErrOutOfRange unless [off, off+n) lies within size bytes.
func CheckRange(off, n, size int64) error {
	if off < 0 || n < 0 || off > size || n > size-off {
		return ErrOutOfRange
	}
	return nil
}
