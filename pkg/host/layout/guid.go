package layout

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is an identity as it is written in a table: its first three fields are
// little-endian.
type GUID [16]byte

// The types of partition that a node knows.
var (
	TypeESP   = mustGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	TypeSeed  = mustGUID("9d3b7e52-64c1-4b0f-8f1e-be3f8015eed0")
	TypeState = mustGUID("2f6c18a4-0b7d-4d52-9a36-be3f80157a7e")
	TypeStore = mustGUID("71e0c9bb-3d84-4e19-b5c2-be3f8015704e")
)

// ParseGUID reads the usual writing, 8-4-4-4-12 hexadecimal digits.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	parts := strings.Split(s, "-")
	if len(s) != 36 || len(parts) != 5 {
		return g, fmt.Errorf("GUID %q: want 8-4-4-4-12 digits", s)
	}
	b, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil || len(b) != 16 || len(parts[0]) != 8 || len(parts[1]) != 4 || len(parts[2]) != 4 || len(parts[3]) != 4 {
		return g, fmt.Errorf("GUID %q: want 8-4-4-4-12 digits", s)
	}
	binary.LittleEndian.PutUint32(g[0:], binary.BigEndian.Uint32(b[0:]))
	binary.LittleEndian.PutUint16(g[4:], binary.BigEndian.Uint16(b[4:]))
	binary.LittleEndian.PutUint16(g[6:], binary.BigEndian.Uint16(b[6:]))
	copy(g[8:], b[8:])
	return g, nil
}

func mustGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", binary.LittleEndian.Uint32(g[0:]),
		binary.LittleEndian.Uint16(g[4:]), binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:])
}

// derive makes an identity from a text, so that the same image always has the
// same: version 8 (own scheme) of RFC 9562.
func derive(text string) GUID {
	sum := sha256.Sum256([]byte(text))
	var g GUID
	copy(g[:], sum[:16])
	g[7] = g[7]&0x0f | 0x80
	g[8] = g[8]&0x3f | 0x80
	return g
}
