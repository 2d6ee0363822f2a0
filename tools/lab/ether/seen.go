package ether

import (
	"cmp"
	"encoding/binary"
	"net"
	"slices"
)

// maxSeen bounds the cards that a segment remembers.
const maxSeen = 1024

// Sighting is a card that spoke, and at which port: a switch would send there what is
// for it. Nothing is sent by it here; it is for who looks.
type Sighting struct {
	MAC    string `json:"mac"`
	Port   string `json:"port"`
	Frames uint64 `json:"frames"`
	Asked  uint64 `json:"asked"`  // frames that ask for an address by DHCP
	Moved  uint64 `json:"moved"`  // frames by which a hypervisor says where the card is (RARP)
	Newest uint64 `json:"newest"` // number of the newest frame, among all of the segment
}

type seenKey struct {
	mac  [6]byte
	port string
}

// note remembers who sent a frame; the segment is locked.
func (s *Segment) note(p *Port, frame []byte) {
	s.frames++
	if len(frame) < 14 {
		return
	}
	k := seenKey{[6]byte(frame[6:12]), p.name}
	was, known := s.seen[k]
	if !known && len(s.seen) >= maxSeen {
		return
	}
	was.Frames++
	was.Newest = s.frames
	if asks(frame) {
		was.Asked++
	}
	if binary.BigEndian.Uint16(frame[12:]) == 0x8035 {
		was.Moved++
	}
	s.seen[k] = was
}

// asks tells a DHCP client's frame: UDP over IPv4 to port 67.
func asks(frame []byte) bool {
	const udp, server = 17, 67
	if len(frame) < 14+20+8 || binary.BigEndian.Uint16(frame[12:]) != 0x0800 || frame[14+9] != udp {
		return false
	}
	head := 14 + int(frame[14]&15)*4
	return len(frame) >= head+8 && binary.BigEndian.Uint16(frame[head+2:]) == server
}

// Seen lists all cards that spoke, by address and port.
func (s *Segment) Seen() []Sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []Sighting{}
	for k, v := range s.seen {
		v.MAC, v.Port = net.HardwareAddr(k.mac[:]).String(), k.port
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b Sighting) int { return cmp.Or(cmp.Compare(a.MAC, b.MAC), cmp.Compare(a.Port, b.Port)) })
	return list
}
