package ident

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// Node identifies one voter of the pair: a node or the witness. It is drawn at
// random when a state folder is made blank and never used again for another
// (rule R9), and serves as the raft identity. Zero means no node.
type Node uint64

// NewNode draws a fresh node identity.
func NewNode() Node {
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails (Go 1.24)
		if n := Node(binary.BigEndian.Uint64(b[:])); n != 0 {
			return n
		}
	}
}

// String prints the identity as 16 hexadecimal digits.
func (n Node) String() string { return fmt.Sprintf("%016x", uint64(n)) }

// ParseNode reads what String prints.
func ParseNode(s string) (Node, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 || v == 0 {
		return 0, fmt.Errorf("node identity %q: want 16 hexadecimal digits, not all zero", s)
	}
	return Node(v), nil
}

// MarshalText lets a Node be a JSON string and a map key.
func (n Node) MarshalText() ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	return []byte(n.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (n *Node) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*n = 0
		return nil
	}
	v, err := ParseNode(string(b))
	*n = v
	return err
}

// UUID is a random 128-bit identity. Pair and Replica are the two kinds in use.
type UUID [16]byte

// NewUUID draws a fresh identity.
func NewUUID() UUID {
	var u UUID
	_, _ = rand.Read(u[:])
	return u
}

// IsZero reports whether the identity was never set.
func (u UUID) IsZero() bool { return u == UUID{} }

// String prints 32 hexadecimal digits.
func (u UUID) String() string { return hex.EncodeToString(u[:]) }

// MarshalText lets a UUID be a JSON string.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (u *UUID) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(u) {
		return errors.New("identity: want 32 hexadecimal digits")
	}
	if _, err := hex.Decode(u[:], b); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return nil
}

// Group identifies a volume group, the unit of authority: all disks of one VM,
// or the citizen service's volume. Numbered from 1 by the cluster state.
type Group uint32

// Volume identifies one volume inside the whole pair. Numbered from 1 by the
// cluster state.
type Volume uint32

// VM identifies a virtual machine. Numbered from 1 by the cluster state.
type VM uint32

// Epoch counts the configurations of a group; each committed configuration has
// an epoch of its own, and a higher one fences all lower ones (rule R2).
type Epoch uint64

// Seq is the position of a record in the history of its group. It starts at 1,
// grows by one a record and runs on across epochs.
type Seq uint64
