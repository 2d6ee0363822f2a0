package probe

import (
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"testing"
)

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 0xa}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 0xb}
)

func example() frame {
	f := frame{kind: size, role: Fibre2, node: 0x0102030405060708, number: 7, size: 48}
	copy(f.pair[:], "0123456789abcdef")
	return f
}

func TestTheFrameIsTheseBytes(t *testing.T) {
	want := strings.ReplaceAll("02000000000b 02000000000a 88b5 42464652 01 02 03 00 30313233343536373839616263646566"+
		" 0102030405060708 00000007 0030 00000000000000000000", " ", "")
	if got := hex.EncodeToString(example().bytes(macB, macA)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAFrameIsReadBackOrRefused(t *testing.T) {
	whole := example().bytes(macB, macA)
	for _, tc := range []struct {
		name   string
		change func([]byte) []byte
		want   error
	}{
		{"as sent", func(b []byte) []byte { return b }, nil},
		{"with a tail", func(b []byte) []byte { return append(b, 1, 2, 3) }, nil},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, errDamaged},
		{"very short", func(b []byte) []byte { return b[:20] }, errForeign},
		{"another type", func(b []byte) []byte { b[12] = 8; return b }, errForeign},
		{"another magic", func(b []byte) []byte { b[14] = 0; return b }, errForeign},
		{"a later version", func(b []byte) []byte { b[18] = 2; return b }, errForeign},
		{"an unknown kind", func(b []byte) []byte { b[19] = 4; return b }, errDamaged},
		{"an unknown role", func(b []byte) []byte { b[20] = 4; return b }, errDamaged},
		{"a size beyond any cable", func(b []byte) []byte { b[50] = 0xff; return b }, errDamaged},
		{"from a group", func(b []byte) []byte { b[6] |= 1; return b }, errDamaged},
	} {
		f, src, err := parse(tc.change(append([]byte(nil), whole...)))
		if !errors.Is(err, tc.want) || err == nil && (f != example() || src.String() != macA.String()) {
			t.Errorf("%s: %+v from %v, %v; want %v", tc.name, f, src, err, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example().bytes(macB, macA))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, src, err := parse(b)
		if err != nil {
			return
		}
		if again, _, err := parse(fr.bytes(macB, src)); err != nil || again != fr {
			t.Errorf("%+v written and read is %+v, %v", fr, again, err)
		}
	})
}
