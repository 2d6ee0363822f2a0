package nbd

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"beffroi.dev/pkg/disk"

	"github.com/google/go-cmp/cmp"
)

func TestGoldenBytes(t *testing.T) {
	extents := []disk.Extent{{Len: 4096, Hole: true, Zero: true}, {Len: 4096, Hole: true, Zero: true}, {Len: 4096}, {Len: 1 << 20, Zero: true}}
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"an option", appendOption(nil, optGo, []byte("ab")), "49484156454f5054 00000007 00000002 6162"},
		{"an option reply", appendOptReply(nil, optGo, repErrUnknown, []byte("no")), "0003e889045565a9 00000007 80000006 00000002 6e6f"},
		{"a request", appendRequest(nil, request{flags: cmdFlagFUA, kind: cmdWrite, cookie: 0x0102030405060708, offset: 4096, length: 512}),
			"25609513 0001 0001 0102030405060708 0000000000001000 00000200"},
		{"a simple reply", appendSimple(nil, eNOSPC, 9), "67446698 0000001c 0000000000000009"},
		{"a data chunk", appendChunk(nil, chunkDone, chunkOffsetData, 9, 520), "668e33ef 0001 0001 0000000000000009 00000208"},
		{"an error chunk", appendErrorChunk(nil, 9, eIO, "bad"), "668e33ef 0001 8001 0000000000000009 00000009 00000005 0003 626164"},
		{"a status joins neighbours and stops at the request", appendStatus(nil, 9, extents, 16384, false),
			"668e33ef 0001 0005 0000000000000009 0000001c 00000001 00002000 00000003 00001000 00000000 00001000 00000002"},
		{"a status of one extent", appendStatus(nil, 9, extents, 16384, true),
			"668e33ef 0001 0005 0000000000000009 0000000c 00000001 00002000 00000003"},
		{"a status without extents is an error", appendStatus([]byte{7}, 9, nil, 16384, true)[1:21],
			"668e33ef 0001 8001 0000000000000009 00000016"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := strings.ReplaceAll(tt.want, " ", "")
			if got := hex.EncodeToString(tt.got); got != want {
				t.Errorf("bytes\n got %s\nwant %s", got, want)
			}
		})
	}
}

func TestOptionDataIsCheckedToTheByte(t *testing.T) {
	name := "\x00\x00\x00\x01v"
	tests := []struct {
		name string
		in   string
		ok   bool
	}{
		{"no information request", name + "\x00\x00", true},
		{"two of them", name + "\x00\x02\x00\x01\x00\x03", true},
		{"one missing", name + "\x00\x02\x00\x01", false},
		{"one too many", name + "\x00\x00\x00\x01", false},
		{"no count", name, false},
		{"a name past the end", "\x00\x00\x00\x05v\x00\x00", false},
		{"a name of 5000 bytes", "\x00\x00\x13\x88" + strings.Repeat("v", 5000) + "\x00\x00", false},
		{"nothing at all", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseInfo([]byte(tt.in)); (err == nil) != tt.ok {
				t.Errorf("parseInfo = %v; want ok %v", err, tt.ok)
			}
		})
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(appendRequest(nil, request{kind: cmdRead, cookie: 1, offset: 512, length: 512}))
	f.Add(bytes.Repeat([]byte{0xff}, requestSize))
	c := &conn{size: 1 << 20, structured: true, meta: true}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < requestSize {
			return
		}
		q, err := parseRequest(b)
		if err != nil {
			return
		}
		if diff := cmp.Diff(b[:requestSize], appendRequest(nil, q)); diff != "" {
			t.Fatalf("a request does not survive its own encoding:\n%s", diff)
		}
		op, _, errno := c.examine(q)
		if (op == 0) != (errno != 0) {
			t.Fatalf("examine(%+v) = %v, errno %d; want exactly one", q, op, errno)
		}
		if op != 0 && disk.CheckRange(int64(q.offset), int64(q.length), c.size) != nil {
			t.Fatalf("examine(%+v) let a request past the end through", q)
		}
	})
}

func FuzzOptions(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01v\x00\x01\x00\x03"))
	f.Add([]byte("\x00\x00\x00\x01v\x00\x00\x00\x01\x00\x00\x00\x0fbase:allocation"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= optHeaderSize {
			if o, err := parseOption(b); err == nil && !bytes.Equal(appendOption(nil, o.kind, nil)[:12], b[:12]) {
				t.Fatalf("option %+v does not survive its own encoding", o)
			}
		}
		if r, err := parseInfo(b); err == nil && len(r.name)+2*len(r.infos)+6 != len(b) {
			t.Fatalf("parseInfo took %+v from %d bytes", r, len(b))
		}
		if r, err := parseMeta(b); err == nil {
			n := len(r.name) + 8
			for _, q := range r.queries {
				n += 4 + len(q)
			}
			if n != len(b) {
				t.Fatalf("parseMeta took %+v from %d bytes", r, len(b))
			}
		}
	})
}
