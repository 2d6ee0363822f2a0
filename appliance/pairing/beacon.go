package pairing

import (
	"encoding/binary"

	"beffroi.dev/pkg/quorum/cluster"
)

// Beacon is what a member that waits tells everybody around, once a second. It
// proves nothing: it only says where to knock.
type Beacon struct {
	Kind  cluster.Kind
	Bound bool    // it has prepared and waits for its founder
	Port  uint16  // where it listens, TCP
	Tag   string  // of its code
	Who   [8]byte // the beginning of its public key
}

const (
	beaconMagic = "BFFP"
	beaconSize  = 24
)

// Append encodes the beacon.
func (c Beacon) Append(b []byte) []byte {
	b = append(b, beaconMagic...)
	b = binary.BigEndian.AppendUint16(b, Version)
	kind, flags := byte(1), byte(0)
	if c.Kind == cluster.KindWitness {
		kind = 2
	}
	if c.Bound {
		flags = 1
	}
	b = append(b, kind, flags)
	b = binary.BigEndian.AppendUint16(b, c.Port)
	tag := [tagLength]byte{}
	copy(tag[:], c.Tag)
	b = append(b, tag[:]...)
	b = append(b, c.Who[:]...)
	return append(b, 0, 0, 0, 0)
}

// ParseBeacon decodes one; anybody may send anything.
func ParseBeacon(b []byte) (Beacon, bool) {
	if len(b) != beaconSize || string(b[:4]) != beaconMagic || binary.BigEndian.Uint16(b[4:]) != Version || b[6] < 1 || b[6] > 2 {
		return Beacon{}, false
	}
	c := Beacon{Kind: cluster.KindNode, Bound: b[7]&1 != 0, Port: binary.BigEndian.Uint16(b[8:]), Tag: string(b[10:12]), Who: [8]byte(b[12:20])}
	if b[6] == 2 {
		c.Kind = cluster.KindWitness
	}
	for _, r := range c.Tag {
		if r > 0x7f || !inAlphabet(byte(r)) {
			return Beacon{}, false
		}
	}
	return c, c.Port != 0
}

func inAlphabet(c byte) bool {
	for i := range len(alphabet) {
		if alphabet[i] == c {
			return true
		}
	}
	return false
}
