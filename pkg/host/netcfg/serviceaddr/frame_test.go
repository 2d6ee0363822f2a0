package serviceaddr

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestAnnouncementsAreTheseBytes(t *testing.T) {
	mac := net.HardwareAddr{2, 0xbe, 0xff, 0, 0, 1}
	for _, tc := range []struct {
		name string
		got  []byte
		want string
	}{
		{"ARP announcement", arpAnnouncement(mac, netip.MustParseAddr("192.0.2.100")),
			"ffffffffffff 02beff000001 0806 0001 0800 06 04 0001 02beff000001 c0000264 000000000000 c0000264" + strings.Repeat("00", 18)},
		{"neighbour advertisement", advertisement(mac, netip.MustParseAddr("2001:db8::100")),
			"333300000001 02beff000001 86dd 60000000 0020 3a ff 20010db8000000000000000000000100 ff020000000000000000000000000001" +
				"88 00 f76d 20000000 20010db8000000000000000000000100 02 01 02beff000001"},
	} {
		if want := strings.ReplaceAll(tc.want, " ", ""); hex.EncodeToString(tc.got) != want {
			t.Errorf("%s:\n got %x\nwant %s", tc.name, tc.got, want)
		}
	}
}

func TestTheChecksumOfAWholeMessageIsZero(t *testing.T) {
	src := netip.MustParseAddr("fe80::1")
	f := advertisement(net.HardwareAddr{2, 0, 0, 0, 0, 9}, src)
	if sum := checksum(src, allNodes6, f[54:]); sum != 0 {
		t.Errorf("checksum over the message = %#x; want 0", sum)
	}
}
