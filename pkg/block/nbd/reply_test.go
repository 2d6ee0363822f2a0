package nbd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"beffroi.dev/pkg/disk"
)

// dialogue is a lane with one read of 4 KiB (cookie 1), one write (2) and one
// block status (3) on the wire.
func dialogue(done func(*disk.Request)) *lane {
	l := newLane(&Client{})
	l.link = link{size: 1 << 20, structured: true, meta: true}
	l.sent[1] = &call{req: &disk.Request{Op: disk.Read, Len: 4096, Data: make([]byte, 4096), Done: done}, kind: cmdRead, n: 4096}
	l.sent[2] = &call{req: &disk.Request{Op: disk.Write, Len: 512, Data: make([]byte, 512), Done: done}, kind: cmdWrite, n: 512}
	l.sent[3] = &call{req: &disk.Request{Op: disk.Status, Len: 8192, Done: done}, kind: cmdBlockStatus, n: 8192}
	return l
}

func TestRepliesThatDoNotFitEndTheConnection(t *testing.T) {
	data := func(off uint64, n int) []byte {
		b := appendChunk(nil, chunkDone, chunkOffsetData, 1, uint32(8+n))
		return append(binary.BigEndian.AppendUint64(b, off), make([]byte, n)...)
	}
	tests := []struct {
		name string
		in   []byte
		ok   bool
	}{
		{"the whole read", data(0, 4096), true},
		{"a part of it", data(512, 512), true},
		{"data past its end", data(4000, 512), false},
		{"data before its beginning", data(1<<63, 512), false},
		{"a simple reply to a write", appendSimple(nil, 0, 2), true},
		{"an error to a read", appendErrorChunk(nil, 1, eIO, "bad"), true},
		{"a simple reply to a read", appendSimple(nil, 0, 1), false},
		{"a reply to nothing", appendSimple(nil, 0, 9), false},
		{"a chunk of 4 GiB", appendChunk(nil, chunkDone, chunkStatus, 3, 1<<32-1), false},
		{"data for a write", append(appendChunk(nil, chunkDone, chunkOffsetData, 2, 16), make([]byte, 16)...), false},
		{"a shutdown", appendSimple(nil, eSHUTDOWN, 2), false},
		{"garbage", make([]byte, 32), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ended := 0
			l := dialogue(func(*disk.Request) { ended++ })
			err := l.reply(bufio.NewReader(bytes.NewReader(tt.in)))
			if (err == nil) != tt.ok || tt.ok != (ended == 1) {
				t.Errorf("reply = %v, %d requests ended; want ok %v", err, ended, tt.ok)
			}
		})
	}
}

func FuzzReplies(f *testing.F) {
	f.Add(appendSimple(nil, 0, 2))
	f.Add(appendErrorChunk(nil, 1, eIO, "bad"))
	f.Add(appendStatus(nil, 3, []disk.Extent{{Len: 4096, Hole: true}, {Len: 4096}}, 8192, false))
	f.Add(append(append(appendChunk(nil, chunkDone, chunkOffsetHole, 1, 12), make([]byte, 8)...), 0, 0, 16, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		ended := map[*disk.Request]int{}
		l := dialogue(func(r *disk.Request) { ended[r]++ })
		r := bufio.NewReader(bytes.NewReader(b))
		for range 16 {
			if l.reply(r) != nil {
				break
			}
		}
		for req, n := range ended {
			covered := int64(0)
			for _, e := range req.Extents {
				covered += e.Len
			}
			if n != 1 || covered > 8192*16 {
				t.Fatalf("%v ended %d times and covers %d bytes", req.Op, n, covered)
			}
		}
	})
}

func FuzzNegotiation(f *testing.F) {
	greeting := binary.BigEndian.AppendUint64(nil, magicInit)
	greeting = binary.BigEndian.AppendUint64(greeting, magicOption)
	greeting = binary.BigEndian.AppendUint16(greeting, flagFixedNewstyle)
	info := binary.BigEndian.AppendUint64([]byte{0, infoExport}, 1<<20)
	info = binary.BigEndian.AppendUint16(info, txHasFlags|txSendFlush|txSendFUA)
	f.Add(append(appendOptReply(appendOptReply(appendOptReply(greeting, optStructuredReply, repErrUnsup, nil), optGo, repInfo, info), optGo, repAck, nil), 0))
	f.Add(greeting)
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write(b)
			_ = theirs.Close()
		}()
		go func() { _, _ = bufio.NewReader(theirs).WriteTo(discard{}) }()
		l, err := haggle(ours, "v")
		_ = ours.Close()
		if err == nil && (l.size <= 0 || l.maxPayload < 512 || l.maxPayload > maxPayload) {
			t.Fatalf("agreed on %+v", l)
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
