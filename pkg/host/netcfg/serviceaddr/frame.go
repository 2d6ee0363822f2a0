package serviceaddr

import (
	"encoding/binary"
	"net"
	"net/netip"
)

const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	icmpAdvertisement = 136
)

var (
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	allNodes6 = netip.MustParseAddr("ff02::1")
)

func ethernet(dst, src net.HardwareAddr, kind uint16) []byte {
	b := append(append(make([]byte, 0, 128), dst...), src...)
	return binary.BigEndian.AppendUint16(b, kind)
}

// arpAnnouncement is a whole frame that tells the network that mac has the IPv4
// address: an ARP request by the address for itself.
func arpAnnouncement(mac net.HardwareAddr, a netip.Addr) []byte {
	b := ethernet(broadcast, mac, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // ethernet, IPv4, their lengths, request
	b = append(append(b, mac...), a.AsSlice()...)
	b = append(append(b, 0, 0, 0, 0, 0, 0), a.AsSlice()...)
	return append(b, make([]byte, 60-len(b))...) // the shortest frame on a cable
}

// advertisement is a whole frame that tells the network that mac has the IPv6
// address, with the override flag.
func advertisement(mac net.HardwareAddr, a netip.Addr) []byte {
	icmp := []byte{icmpAdvertisement, 0, 0, 0, 0x20, 0, 0, 0}
	icmp = append(icmp, a.AsSlice()...)
	icmp = append(append(icmp, 2, 1), mac...) // option: target's link-layer address, 8 bytes
	binary.BigEndian.PutUint16(icmp[2:], checksum(a, allNodes6, icmp))

	b := ethernet(allNodes, mac, etherIPv6)
	b = append(b, 0x60, 0, 0, 0, 0, byte(len(icmp)), 58, 255) // version, length, ICMPv6, hop limit
	b = append(append(b, a.AsSlice()...), allNodes6.AsSlice()...)
	return append(b, icmp...)
}

// checksum is that of ICMPv6 with its pseudo header (RFC 4443 2.3).
func checksum(src, dst netip.Addr, icmp []byte) uint16 {
	b := append(append(make([]byte, 0, 80), src.AsSlice()...), dst.AsSlice()...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(icmp)))
	b = append(append(b, 0, 0, 0, 58), icmp...)
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
