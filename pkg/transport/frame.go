package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// headerSize is the length of a frame's header in bytes.
const headerSize = 8

// kind tells what a frame holds.
type kind uint8

const (
	kindPing    kind = 1 // 8 bytes, to be sent back
	kindPong    kind = 2 // the 8 bytes of a ping
	kindControl kind = 3 // one control message
	kindData    kind = 4 // one data message
)

// pingSize is the payload of a ping and of a pong in bytes.
const pingSize = 8

// errFrame is wrapped by every refusal of parseHeader.
var errFrame = errors.New("bad frame")

func putHeader(b []byte, k kind, size int) {
	binary.BigEndian.PutUint32(b, uint32(size))
	b[4], b[5], b[6], b[7] = byte(k), 0, 0, 0
}

func appendFrame(b []byte, k kind, payload []byte) []byte {
	var h [headerSize]byte
	putHeader(h[:], k, len(payload))
	return append(append(b, h[:]...), payload...)
}

// parseHeader reads a header that arrived on a connection of the given role and
// refuses what that connection never carries, before anything is allocated.
func parseHeader(b []byte, on role) (kind, int, error) {
	size, k := binary.BigEndian.Uint32(b), kind(b[4])
	if b[5] != 0 || b[6] != 0 || b[7] != 0 {
		return 0, 0, fmt.Errorf("%w: reserved bytes are set", errFrame)
	}
	var low, high uint32
	switch {
	case on == roleControl && (k == kindPing || k == kindPong):
		low, high = pingSize, pingSize
	case on == roleControl && k == kindControl:
		high = MaxControl
	case on == roleData && k == kindData:
		high = MaxData
	default:
		return 0, 0, fmt.Errorf("%w: kind %d on a %v connection", errFrame, k, on)
	}
	if size < low || size > high {
		return 0, 0, fmt.Errorf("%w: kind %d of %d bytes, want %d to %d", errFrame, k, size, low, high)
	}
	return k, int(size), nil
}
