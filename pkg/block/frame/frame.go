package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"beffroi.dev/pkg/disk"
)

// Version of the frame format. Readers refuse a newer one.
const Version = 1

// headerSize is the fixed part of a frame's header, in bytes.
const headerSize = 64

const magic = "BFRFRAME"

// Limits of a frame: how much one write to the device may hold.
const (
	MaxRecords = 1024
	MaxPayload = 512 // blocks: 2 MiB, where a sequential disk has long reached its rate
	MaxHeader  = 64  // blocks
)

var (
	// ErrNoFrame means that the bytes are not the header of an intact frame of this store.
	ErrNoFrame = errors.New("no frame")
	// ErrTorn means that the header is intact and its payload is not.
	ErrTorn = errors.New("torn frame")
	// ErrVersion means that the frame was written by a newer release.
	ErrVersion = errors.New("frame format is newer than this release")
)

// Header is the fixed part of a frame.
type Header struct {
	Salt    uint64 // the store's incarnation
	LSN     uint64 // position in the node's log, from 1
	Prev    uint32 // checksum of the frame before
	Sum     uint32 // checksum of this header and table
	Records int
	Header  int // blocks of header and table
	Payload int // blocks of payload
}

// Blocks is the length of the whole frame in blocks.
func (h Header) Blocks() int { return h.Header + h.Payload }

// Build encodes records as one frame into buf, which is grown if needed with
// disk.Aligned and returned. It sets Loc of each record with payload to the
// block it will have when the frame is written at block number at.
func Build(buf []byte, salt, lsn uint64, prev uint32, records []*Record, at uint64) ([]byte, Header) {
	table, payload := 0, 0
	for _, r := range records {
		table += r.Size()
		if r.Kind.HasPayload() {
			payload += int(r.Count)
		}
	}
	h := Header{Salt: salt, LSN: lsn, Prev: prev, Records: len(records), Header: HeaderBlocks(table), Payload: payload}
	size := h.Blocks() * disk.BlockSize
	if cap(buf) < size {
		buf = disk.Aligned(int64(size))
	}
	buf = buf[:size]
	b := append(buf[:0], magic...)
	b = binary.LittleEndian.AppendUint16(b, Version)
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 0) // checksum, below
	b = binary.LittleEndian.AppendUint64(b, salt)
	b = binary.LittleEndian.AppendUint64(b, lsn)
	b = binary.LittleEndian.AppendUint32(b, prev)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(records)))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Header))
	b = binary.LittleEndian.AppendUint32(b, uint32(payload))
	b = append(b, make([]byte, headerSize-len(b))...)
	off := h.Header * disk.BlockSize
	for _, r := range records {
		b = r.AppendTable(b)
		if r.Kind.HasPayload() {
			r.Loc = at + uint64(off/disk.BlockSize)
			off += copy(buf[off:], r.Data)
		}
	}
	clear(buf[len(b) : h.Header*disk.BlockSize])
	h.Sum = crc32.Checksum(buf[:h.Header*disk.BlockSize], castagnoli)
	binary.LittleEndian.PutUint32(buf[12:], h.Sum)
	return buf, h
}

// HeaderBlocks is how many blocks a header with a table of n bytes takes.
func HeaderBlocks(n int) int { return (headerSize + n + disk.BlockSize - 1) / disk.BlockSize }

// ParseHeader reads the fixed part of a frame. It does not check the checksum,
// which covers the whole table; Parse does.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < headerSize || string(b[:8]) != magic {
		return Header{}, ErrNoFrame
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != Version {
		return Header{}, fmt.Errorf("%w: version %d, this release reads %d", ErrVersion, v, Version)
	}
	u32 := func(i int) int { return int(binary.LittleEndian.Uint32(b[i:])) }
	h := Header{
		Sum: uint32(u32(12)), Salt: binary.LittleEndian.Uint64(b[16:]), LSN: binary.LittleEndian.Uint64(b[24:]),
		Prev: uint32(u32(32)), Records: u32(36), Header: u32(40), Payload: u32(44),
	}
	if h.Header < 1 || h.Header > MaxHeader || h.Payload > MaxPayload || h.Records > MaxRecords {
		return Header{}, ErrNoFrame
	}
	return h, nil
}

// Parse decodes a whole frame that begins at block number at, and checks header
// and payload. Records alias b. ErrTorn comes with the header that was intact.
func Parse(b []byte, at uint64) (Header, []*Record, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Header{}, nil, err
	}
	size := h.Header * disk.BlockSize
	if len(b) < size {
		return Header{}, nil, ErrNoFrame
	}
	var zero [4]byte
	sum := crc32.Update(crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, zero[:]), castagnoli, b[16:size])
	if sum != h.Sum {
		return Header{}, nil, ErrNoFrame
	}
	if len(b) < h.Blocks()*disk.BlockSize {
		return h, nil, ErrTorn
	}
	records := make([]*Record, 0, h.Records)
	table, off := b[headerSize:size], size
	for range h.Records {
		r, rest, err := ParseTable(table)
		if err != nil {
			return h, nil, err
		}
		table = rest
		if r.Kind.HasPayload() {
			n := int(r.Count) * disk.BlockSize
			if off+n > h.Blocks()*disk.BlockSize {
				return h, nil, fmt.Errorf("%w: payload outside the frame", ErrMalformed)
			}
			r.Data, r.Loc = b[off:off+n:off+n], at+uint64(off/disk.BlockSize)
			off += n
			if !r.Intact() {
				return h, nil, ErrTorn
			}
		}
		records = append(records, &r)
	}
	return h, records, nil
}
