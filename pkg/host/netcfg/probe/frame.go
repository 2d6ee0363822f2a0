package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
)

// EtherType of the frames.
const EtherType = 0x88b5

// Role of a card, as it is said on the cable.
type Role byte

// The roles.
const (
	None Role = iota
	Lan
	Fibre1
	Fibre2
)

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role %d", byte(r))
}

var roleNames = []string{"none", "lan", "fibre1", "fibre2"}

// RoleOf is the role of that name; None when there is no such role.
func RoleOf(name string) Role {
	for i, n := range roleNames {
		if n == name {
			return Role(i)
		}
	}
	return None
}

func (r Role) fibre() bool { return r == Fibre1 || r == Fibre2 }

type kind byte

const (
	hello kind = 1 + iota
	size
	echo
)

const (
	headerLen = 14
	minSize   = 46
	maxSize   = 9216
	version   = 1
)

var (
	magic     = []byte("BFFR")
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// frame is what a probe says.
type frame struct {
	kind   kind
	role   Role
	pair   [16]byte
	node   uint64
	number uint32
	size   int // from the end of the ethernet header
}

var (
	errForeign = errors.New("not a probe frame")
	errDamaged = errors.New("a damaged probe frame")
)

func (f frame) bytes(dst, src net.HardwareAddr) []byte {
	n := max(f.size, minSize)
	b := make([]byte, 0, headerLen+n)
	b = append(append(b, dst...), src...)
	b = binary.BigEndian.AppendUint16(b, EtherType)
	b = append(b, magic...)
	b = append(b, version, byte(f.kind), byte(f.role), 0)
	b = append(b, f.pair[:]...)
	b = binary.BigEndian.AppendUint64(b, f.node)
	b = binary.BigEndian.AppendUint32(b, f.number)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	return b[:headerLen+n]
}

// parse reads a whole ethernet frame.
func parse(b []byte) (f frame, src net.HardwareAddr, err error) {
	if len(b) < headerLen+minSize || binary.BigEndian.Uint16(b[12:]) != EtherType || !bytes.Equal(b[14:18], magic) || b[18] != version {
		return frame{}, nil, errForeign
	}
	f = frame{kind: kind(b[19]), role: Role(b[20]), node: binary.BigEndian.Uint64(b[38:]),
		number: binary.BigEndian.Uint32(b[46:]), size: int(binary.BigEndian.Uint16(b[50:]))}
	copy(f.pair[:], b[22:])
	src = bytes.Clone(b[6:12])
	if f.kind < hello || f.kind > echo || f.role > Fibre2 || f.size < minSize || f.size > maxSize || f.size > len(b)-headerLen || src[0]&1 != 0 {
		return frame{}, nil, errDamaged
	}
	return f, src, nil
}
