package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"beffroi.dev/pkg/disk"
)

// Numbers of the protocol, as in PROTOCOL.md.
const (
	magicInit       = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption     = 0x49484156454f5054 // "IHAVEOPT"
	magicOptReply   = 0x0003e889045565a9
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef

	flagFixedNewstyle = 1 << 0 // both directions
	flagNoZeroes      = 1 << 1

	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optStartTLS        = 5
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMeta        = 9
	optSetMeta         = 10

	repAck        = 1
	repServer     = 2
	repInfo       = 3
	repMeta       = 4
	repErrFlag    = 1 << 31
	repErrUnsup   = repErrFlag | 1
	repErrPolicy  = repErrFlag | 2
	repErrInvalid = repErrFlag | 3
	repErrUnknown = repErrFlag | 6
	repErrTooBig  = repErrFlag | 9

	infoExport      = 0
	infoName        = 1
	infoDescription = 2
	infoBlockSize   = 3

	txHasFlags      = 1 << 0
	txReadOnly      = 1 << 1
	txSendFlush     = 1 << 2
	txSendFUA       = 1 << 3
	txSendTrim      = 1 << 5
	txSendZeroes    = 1 << 6
	txSendDF        = 1 << 7
	txCanMultiConn  = 1 << 8
	txSendCache     = 1 << 10
	txSendFastZero  = 1 << 11
	cmdRead         = 0
	cmdWrite        = 1
	cmdDisc         = 2
	cmdFlush        = 3
	cmdTrim         = 4
	cmdCache        = 5
	cmdWriteZeroes  = 6
	cmdBlockStatus  = 7
	cmdFlagFUA      = 1 << 0
	cmdFlagNoHole   = 1 << 1
	cmdFlagDF       = 1 << 2
	cmdFlagReqOne   = 1 << 3
	cmdFlagFastZero = 1 << 4

	chunkDone        = 1 << 0 // flag
	chunkNone        = 0
	chunkOffsetData  = 1
	chunkOffsetHole  = 2
	chunkStatus      = 5
	chunkErrFlag     = 1 << 15
	chunkError       = chunkErrFlag | 1
	chunkErrorOffset = chunkErrFlag | 2

	stateHole = 1 << 0
	stateZero = 1 << 1
)

// Sizes of the fixed parts, bytes.
const (
	optHeaderSize   = 16
	repHeaderSize   = 20
	requestSize     = 28
	simpleSize      = 16
	chunkHeaderSize = 20
)

const (
	// maxName is the protocol's limit of every string, bytes.
	maxName = 4096
	// maxPayload is the largest read or write served, bytes: what clients expect
	// of a server that says nothing.
	maxPayload = 32 << 20
	// maxOption is the largest option that is looked at: two names and some
	// queries. Up to drainOption is drained and refused; beyond, the stream is
	// taken for garbage.
	maxOption   = 16 << 10
	drainOption = 1 << 20
	// maxOptions bounds one negotiation.
	maxOptions = 1024
	// maxExtents bounds one block status reply.
	maxExtents = 4096

	metaAllocation   = "base:allocation"
	metaAllocationID = 1
	defaultPreferred = disk.BlockSize
)

// errno numbers of the protocol, which are Linux's.
const (
	ePERM     = uint32(syscall.EPERM)
	eIO       = uint32(syscall.EIO)
	eINVAL    = uint32(syscall.EINVAL)
	eNOSPC    = uint32(syscall.ENOSPC)
	eNOTSUP   = uint32(syscall.ENOTSUP)
	eSHUTDOWN = uint32(syscall.ESHUTDOWN)
)

// errnoOf maps the end of a request to the protocol. disk.ErrClosed never gets
// here: such a request is not answered at all.
func errnoOf(op disk.Op, err error) uint32 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, disk.ErrNoSpace):
		return eNOSPC
	case errors.Is(err, disk.ErrOutOfRange):
		if op == disk.Write || op == disk.Zero {
			return eNOSPC // the protocol wants it for writes past the end
		}
		return eINVAL
	case errors.Is(err, disk.ErrNotSupported):
		return eNOTSUP
	case errors.Is(err, disk.ErrReadOnly):
		return ePERM
	}
	return eIO
}

// errOf is the client's way back.
func errOf(op disk.Op, errno uint32) error {
	base := error(syscall.Errno(errno))
	switch errno {
	case 0:
		return nil
	case eNOSPC:
		base = disk.ErrNoSpace
	case eNOTSUP:
		base = disk.ErrNotSupported
	case ePERM:
		base = disk.ErrReadOnly
	}
	return fmt.Errorf("nbd %v answered with error %d: %w", op, errno, base)
}

// request is one request header of the transmission phase.
type request struct {
	flags  uint16
	kind   uint16
	cookie uint64
	offset uint64
	length uint32
}

// errMagic says that the stream cannot be followed any more.
var errMagic = errors.New("bad magic number")

func parseRequest(b []byte) (request, error) {
	_ = b[requestSize-1]
	if binary.BigEndian.Uint32(b) != magicRequest {
		return request{}, errMagic
	}
	return request{
		flags:  binary.BigEndian.Uint16(b[4:]),
		kind:   binary.BigEndian.Uint16(b[6:]),
		cookie: binary.BigEndian.Uint64(b[8:]),
		offset: binary.BigEndian.Uint64(b[16:]),
		length: binary.BigEndian.Uint32(b[24:]),
	}, nil
}

func appendRequest(b []byte, r request) []byte {
	b = binary.BigEndian.AppendUint32(b, magicRequest)
	b = binary.BigEndian.AppendUint16(b, r.flags)
	b = binary.BigEndian.AppendUint16(b, r.kind)
	b = binary.BigEndian.AppendUint64(b, r.cookie)
	b = binary.BigEndian.AppendUint64(b, r.offset)
	return binary.BigEndian.AppendUint32(b, r.length)
}

func appendSimple(b []byte, errno uint32, cookie uint64) []byte {
	b = binary.BigEndian.AppendUint32(b, magicSimple)
	b = binary.BigEndian.AppendUint32(b, errno)
	return binary.BigEndian.AppendUint64(b, cookie)
}

func appendChunk(b []byte, flags, kind uint16, cookie uint64, length uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, magicStructured)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint64(b, cookie)
	return binary.BigEndian.AppendUint32(b, length)
}

// appendErrorChunk ends a structured reply with an error and a word about it.
func appendErrorChunk(b []byte, cookie uint64, errno uint32, text string) []byte {
	text = text[:min(len(text), 256)]
	b = appendChunk(b, chunkDone, chunkError, cookie, uint32(6+len(text)))
	b = binary.BigEndian.AppendUint32(b, errno)
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

// appendStatus answers a block status request of n bytes. Neighbours of one kind
// are joined, and the answer never goes past the request.
func appendStatus(b []byte, cookie uint64, extents []disk.Extent, n int64, one bool) []byte {
	start := len(b)
	b = appendChunk(b, chunkDone, chunkStatus, cookie, 0)
	b = binary.BigEndian.AppendUint32(b, metaAllocationID)
	count, last := 0, uint32(0)
	for _, e := range extents {
		l := min(e.Len, n)
		if l <= 0 {
			continue
		}
		state := stateOf(e)
		switch {
		case count > 0 && state == last:
			prev := b[len(b)-8:]
			binary.BigEndian.PutUint32(prev, binary.BigEndian.Uint32(prev)+uint32(l))
		case count == maxExtents || one && count == 1:
			n = 0
			continue
		default:
			b = binary.BigEndian.AppendUint32(b, uint32(l))
			b = binary.BigEndian.AppendUint32(b, state)
			count, last = count+1, state
		}
		n -= l
	}
	if count == 0 {
		return appendErrorChunk(b[:start], cookie, eIO, "no extents known")
	}
	binary.BigEndian.PutUint32(b[start+16:], uint32(4+8*count))
	return b
}

func stateOf(e disk.Extent) uint32 {
	var s uint32
	if e.Hole {
		s |= stateHole
	}
	if e.Zero {
		s |= stateZero
	}
	return s
}
