package transport

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"beffroi.dev/pkg/ident"
)

var goldenHello = hello{
	version: 1, role: roleData, flags: flagData, pair: ident.UUID{0: 0xaa, 15: 0xbb}, from: 0x0102030405060708, to: 0x1112131415161718, path: "fibre1", life: 0x21222324, attempt: 0x31323334,
}

func TestTheBytesOfTheProtocolNeverChange(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  []byte
		want string
	}{
		{"hello", goldenHello.encode(), "4246524f00010201aa0000000000000000000000000000bb0102030405060708111213141516171806666962726531" + strings.Repeat("00", 34) + "2122232431323334" + strings.Repeat("00", 7)},
		{"reply", reply{version: 1, code: RefusedPair, flags: flagData, from: 0x0102030405060708}.encode(), "4246524f000102010102030405060708"},
		{"frame", appendFrame(nil, kindControl, []byte("hi")), "00000002030000006869"},
	} {
		if got := hex.EncodeToString(tc.got); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

func TestTheTableInTheDocumentMatchesTheCode(t *testing.T) {
	doc, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	for r, name := range refusalNames {
		if !bytes.Contains(doc, []byte(name)) {
			t.Errorf("PROTOCOL.md does not mention refusal %d, %q", r, name)
		}
	}
	for _, k := range []string{"| 1 | ping |", "| 2 | pong |", "| 3 | control |", "| 4 | data |", "version 1"} {
		if !bytes.Contains(doc, []byte(k)) {
			t.Errorf("PROTOCOL.md lacks %q", k)
		}
	}
}

func TestAFrameIsRefusedBeforeItIsAllocated(t *testing.T) {
	header := func(k kind, size int) []byte { b := make([]byte, headerSize); putHeader(b, k, size); return b }
	dirty := header(kindControl, 1)
	dirty[7] = 1
	for _, tc := range []struct {
		name string
		b    []byte
		on   role
		ok   bool
	}{
		{"a ping of eight bytes passes", header(kindPing, 8), roleControl, true},
		{"a ping of nine bytes is refused", header(kindPing, 9), roleControl, false},
		{"the longest control message passes", header(kindControl, MaxControl), roleControl, true},
		{"a longer control message is refused", header(kindControl, MaxControl+1), roleControl, false},
		{"the longest data message passes", header(kindData, MaxData), roleData, true},
		{"a longer data message is refused", header(kindData, MaxData+1), roleData, false},
		{"data on a control connection is refused", header(kindData, 1), roleControl, false},
		{"control on a data connection is refused", header(kindControl, 1), roleData, false},
		{"an unknown kind is refused", header(9, 1), roleControl, false},
		{"reserved bytes that are set are refused", dirty, roleControl, false},
	} {
		_, _, err := parseHeader(tc.b, tc.on)
		if got := err == nil; got != tc.ok {
			t.Errorf("%s: got %v", tc.name, err)
		}
		if err != nil && !errors.Is(err, errFrame) {
			t.Errorf("%s: %v does not wrap errFrame", tc.name, err)
		}
	}
}

func FuzzHello(f *testing.F) {
	f.Add(goldenHello.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHello(b)
		if err != nil || h.version != Version {
			return
		}
		if got, err := decodeHello(h.encode()); err != nil || got != h {
			t.Errorf("decode(encode(%+v)) = %+v, %v", h, got, err)
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add(reply{version: 1, from: 7}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeReply(b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("encode(decode(%x)) = %x", b, r.encode())
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 4, 0, 0, 0}, true)
	f.Fuzz(func(t *testing.T, b []byte, data bool) {
		if len(b) != headerSize {
			return
		}
		on := roleControl
		if data {
			on = roleData
		}
		if k, n, err := parseHeader(b, on); err == nil {
			out := make([]byte, headerSize)
			if putHeader(out, k, n); !bytes.Equal(out, b) {
				t.Errorf("header %x became %x", b, out)
			}
		}
	})
}

func TestAnAttemptThatWasOvertakenIsRefused(t *testing.T) {
	p := &path{}
	for _, tc := range []struct {
		name string
		h    hello
		want bool
	}{
		{"the first", hello{role: roleData, life: 1, attempt: 5}, true},
		{"the same again", hello{role: roleData, life: 1, attempt: 5}, false},
		{"an earlier one", hello{role: roleData, life: 1, attempt: 4}, false},
		{"an earlier one for the other role", hello{role: roleControl, life: 1, attempt: 4}, true},
		{"a later one", hello{role: roleData, life: 1, attempt: 6}, true},
		{"the first of another life", hello{role: roleData, life: 2, attempt: 1}, true},
	} {
		if got := p.newest(tc.h); got != tc.want {
			t.Errorf("%s: %v; want %v", tc.name, got, tc.want)
		}
	}
}
