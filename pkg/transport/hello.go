package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"beffroi.dev/pkg/ident"
)

// Version is the protocol's version. History:
//
//	1  first
const Version = 1

var magic = [4]byte{'B', 'F', 'R', 'O'}

const (
	helloSize = 96
	replySize = 16
)

// role is what a connection is for; it never changes.
type role uint8

const (
	roleControl role = 1 // control messages and pings, one for each path
	roleData    role = 2 // one data session
)

// String names the role.
func (r role) String() string {
	switch r {
	case roleControl:
		return "control"
	case roleData:
		return "data"
	}
	return "unknown"
}

// flagData in a hello and in its reply: this end keeps data sessions.
const flagData = 1

// hello is the first thing the dialling end says.
type hello struct {
	version uint16
	role    role
	flags   uint8
	pair    ident.UUID
	from    ident.Node
	to      ident.Node
	path    string
	life    uint32 // drawn when the dialling mesh was made
	attempt uint32 // grows with each connection it dials
}

// reply is what the accepting end answers.
type reply struct {
	version uint16
	code    Refusal // zero: accepted
	flags   uint8
	from    ident.Node
}

var errHello = errors.New("not a hello of this protocol")

func (h hello) encode() []byte {
	b := make([]byte, helloSize)
	copy(b, magic[:])
	binary.BigEndian.PutUint16(b[4:], h.version)
	b[6], b[7] = byte(h.role), h.flags
	copy(b[8:24], h.pair[:])
	binary.BigEndian.PutUint64(b[24:], uint64(h.from))
	binary.BigEndian.PutUint64(b[32:], uint64(h.to))
	b[40] = byte(copy(b[41:41+ident.MaxName], h.path))
	binary.BigEndian.PutUint32(b[81:], h.life)
	binary.BigEndian.PutUint32(b[85:], h.attempt)
	return b
}

// decodeHello reads a hello. Of another version it reads only the version: the
// rest may have another meaning there.
func decodeHello(b []byte) (hello, error) {
	if len(b) != helloSize || [4]byte(b) != magic {
		return hello{}, errHello
	}
	h := hello{version: binary.BigEndian.Uint16(b[4:])}
	if h.version != Version {
		return h, nil
	}
	h.role, h.flags = role(b[6]), b[7]
	copy(h.pair[:], b[8:24])
	h.from = ident.Node(binary.BigEndian.Uint64(b[24:]))
	h.to = ident.Node(binary.BigEndian.Uint64(b[32:]))
	if int(b[40]) > ident.MaxName {
		return hello{}, fmt.Errorf("%w: path name of %d bytes", errHello, b[40])
	}
	h.path = string(b[41 : 41+int(b[40])])
	h.life, h.attempt = binary.BigEndian.Uint32(b[81:]), binary.BigEndian.Uint32(b[85:])
	if h.role != roleControl && h.role != roleData {
		return hello{}, fmt.Errorf("%w: role %d", errHello, h.role)
	}
	return h, nil
}

func (r reply) encode() []byte {
	b := make([]byte, replySize)
	copy(b, magic[:])
	binary.BigEndian.PutUint16(b[4:], r.version)
	b[6], b[7] = byte(r.code), r.flags
	binary.BigEndian.PutUint64(b[8:], uint64(r.from))
	return b
}

func decodeReply(b []byte) (reply, error) {
	if len(b) != replySize || [4]byte(b) != magic {
		return reply{}, errHello
	}
	return reply{
		version: binary.BigEndian.Uint16(b[4:]),
		code:    Refusal(b[6]),
		flags:   b[7],
		from:    ident.Node(binary.BigEndian.Uint64(b[8:])),
	}, nil
}

func readHello(r io.Reader) (hello, error) {
	var b [helloSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return hello{}, fmt.Errorf("read hello: %w", err)
	}
	return decodeHello(b[:])
}

func readReply(r io.Reader) (reply, error) {
	var b [replySize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return reply{}, fmt.Errorf("read reply to hello: %w", err)
	}
	return decodeReply(b[:])
}
