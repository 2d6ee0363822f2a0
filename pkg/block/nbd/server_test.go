package nbd_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
)

// wire is a client that sends what it is told, byte by byte.
type wire struct {
	t *testing.T
	net.Conn
}

func (s *served) wire(t *testing.T) *wire {
	t.Helper()
	nc, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	return &wire{t, nc}
}

func (w *wire) send(hexes string) {
	w.t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(hexes, " ", ""))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) expect(hexes string) {
	w.t.Helper()
	want, err := hex.DecodeString(strings.ReplaceAll(hexes, " ", ""))
	if err != nil {
		w.t.Fatal(err)
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(w, got); err != nil || !bytes.Equal(got, want) {
		w.t.Fatalf("got %x (%v); want %x", got[:n], err, want)
	}
}

func (w *wire) expectEnd() {
	w.t.Helper()
	if n, err := io.Copy(io.Discard, w); err != nil || n != 0 {
		w.t.Fatalf("got %d more bytes (%v); want the end", n, err)
	}
}

const (
	greeting = "4e42444d41474943 49484156454f5054 0003"
	option   = "49484156454f5054"
	repMagic = "0003e889045565a9"
)

// enter negotiates export "v" the old way.
func (s *served) enter(t *testing.T) *wire {
	t.Helper()
	w := s.wire(t)
	w.expect(greeting)
	w.send("00000003" + option + "00000001 00000001 76")
	w.expect("0000000000100000 0d6d")
	return w
}

func header(kind uint16, cookie, off uint64, n uint32) []byte {
	b := []byte{0x25, 0x60, 0x95, 0x13, 0, 0}
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint64(b, cookie)
	b = binary.BigEndian.AppendUint64(b, off)
	return binary.BigEndian.AppendUint32(b, n)
}

func (w *wire) write(cookie, off uint64, fill byte) {
	w.t.Helper()
	if _, err := w.Write(append(header(1, cookie, off, 4096), bytes.Repeat([]byte{fill}, 4096)...)); err != nil {
		w.t.Fatal(err)
	}
}

func TestTheNegotiationByteByByte(t *testing.T) {
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Description: "d", Queue: newMemory(t, 1<<20)})
	w := s.wire(t)
	w.expect(greeting)
	w.send("00000003" + option + "00000063 00000003 616263") // unknown option: and it goes on
	w.expect(repMagic + "00000063 80000001 00000014" + hex.EncodeToString([]byte("option not supported")))
	w.send(option + "00000005 00000000")
	w.expect(repMagic + "00000005 80000002 00000021" + hex.EncodeToString([]byte("no TLS here: this socket is local")))
	w.send(option + "00000007 00000007 00000001 76 0000")
	w.expect(repMagic + "00000007 00000003 0000000c 0000 0000000000100000 0d6d")
	w.expect(repMagic + "00000007 00000003 0000000e 0003 00000001 00001000 02000000")
	w.expect(repMagic + "00000007 00000001 00000000")
	w.send(hex.EncodeToString(header(2, 1, 0, 0)))
	w.expectEnd()
}

func TestAStreamThatCannotBeFollowedIsEndedAndCounted(t *testing.T) {
	tests := []struct {
		name   string
		send   string
		reason string
		early  bool // during the negotiation
	}{
		{"unknown handshake flags", "00000007", "unknown handshake flags", true},
		{"an option with a bad magic", "00000003 0000000000000000 00000007 00000000", "bad magic number", true},
		{"an option of 2 GiB", "00000003" + option + "00000007 80000000", "option larger than allowed", true},
		{"a request with a bad magic", strings.Repeat("00", 28), "bad magic number", false},
		{"a write of 33 MiB", hex.EncodeToString(header(1, 1, 0, 33<<20)), "write larger than allowed", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: newMemory(t, 1<<20)})
			w := s.wire(t)
			if tt.early {
				w.expect(greeting)
			} else {
				w = s.enter(t)
			}
			w.send(tt.send)
			w.expectEnd()
			if got := s.Stats().Ended[tt.reason]; got != 1 {
				t.Errorf("Ended = %v; want 1 for %q", s.Stats().Ended, tt.reason)
			}
		})
	}
}

func TestAnOptionThatIsTooBigIsDrainedAndRefused(t *testing.T) {
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: newMemory(t, 1<<20)})
	w := s.wire(t)
	w.expect(greeting)
	w.send("00000003" + option + "00000007 00010000" + strings.Repeat("00", 1<<16))
	w.expect(repMagic + "00000007 80000009 0000000f" + hex.EncodeToString([]byte("option too long")))
	w.send(option + "00000002 00000000")
	w.expect(repMagic + "00000002 00000001 00000000")
	w.expectEnd()
}

func TestASilentClientIsEndedInTime(t *testing.T) {
	s := serve(t, nbd.Config{Handshake: 30 * time.Millisecond}, nbd.Export{Name: "v", Queue: newMemory(t, 1<<20)})
	w := s.wire(t)
	w.expect(greeting)
	w.expectEnd()
	if got := s.Stats().Ended["negotiation not finished in time"]; got != 1 {
		t.Errorf("Ended = %v; want one negotiation not finished", s.Stats().Ended)
	}
}

func TestAClosedQueueEndsTheConnectionAfterWhatIsInFlight(t *testing.T) {
	m := newMemory(t, 1<<20)
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: m})
	w := s.enter(t)
	resume := m.pause()
	w.write(1, 0, 1)
	for len(m.batches) > 0 {
		time.Sleep(time.Millisecond)
	}
	m.fail(disk.ErrNoSpace) // the one in flight is answered, with an error that a guest may see
	resume()
	w.expect("67446698 0000001c 0000000000000001")
	m.fail(disk.ErrClosed)
	w.write(2, 0, 2)
	w.expectEnd() // no reply, and no ESHUTDOWN above all
}

func TestDrainAnswersWhatIsInFlightAndTakesNothingNew(t *testing.T) {
	m := newMemory(t, 1<<20)
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: m})
	w := s.enter(t)
	resume := m.pause()
	w.write(1, 0, 1)
	w.write(2, 4096, 2)
	time.Sleep(20 * time.Millisecond)
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(context.Background(), "v") }()
	time.Sleep(20 * time.Millisecond)
	w.write(3, 8192, 3)
	resume()
	w.expect("67446698 00000000 0000000000000001 67446698 00000000 0000000000000002")
	_, _ = io.Copy(io.Discard, w) // a reset is as good an end: bytes of ours were not read
	if err := <-drained; err != nil {
		t.Errorf("Drain = %v", err)
	}
	if m.at(8192) != 0 {
		t.Error("a request that came after the drain was executed")
	}
}

func TestDrainCutsWhatDoesNotFinish(t *testing.T) {
	m := newMemory(t, 1<<20)
	s := serve(t, nbd.Config{DrainWait: 30 * time.Millisecond}, nbd.Export{Name: "v", Queue: m})
	w := s.enter(t)
	resume := m.pause()
	defer resume()
	w.write(1, 0, 1)
	time.Sleep(20 * time.Millisecond)
	if err := s.Drain(context.Background(), "v"); !errors.Is(err, disk.ErrTimeout) {
		t.Errorf("Drain = %v; want ErrTimeout", err)
	}
	w.expectEnd()
}

// The zombie session: the old connection's write is with the queue when the
// client comes back. Were it served at once, its newer write could be done
// before the older one.
func TestANewConnectionWaitsForTheRequestsOfADeadOne(t *testing.T) {
	m := newMemory(t, 1<<20)
	s := serve(t, nbd.Config{}, nbd.Export{Name: "v", Queue: m})
	old := s.enter(t)
	resume := m.pause()
	old.write(1, 0, 1)
	time.Sleep(20 * time.Millisecond)
	_ = old.Close()

	entered := make(chan *wire, 1)
	go func() { entered <- s.enter(t) }()
	select {
	case <-entered:
		t.Fatal("a new connection was served while an old request was with the queue")
	case <-time.After(100 * time.Millisecond):
	}
	resume()
	w := <-entered
	w.write(2, 0, 2)
	w.expect("67446698 00000000 0000000000000002")
	if m.at(0) != 2 {
		t.Errorf("block 0 holds %d; want the newer write", m.at(0))
	}
}

func TestWhatADeadConnectionLeftUnreadIsDropped(t *testing.T) {
	m := newMemory(t, 1<<20)
	s := serve(t, nbd.Config{MaxInFlight: 1}, nbd.Export{Name: "v", Queue: m})
	old := s.enter(t)
	resume := m.pause()
	for i := range uint64(8) { // one is in flight, the others wait behind it
		old.write(i, i*4096, 1)
	}
	time.Sleep(20 * time.Millisecond)
	_ = old.Close()
	entered := make(chan *wire, 1)
	go func() { entered <- s.enter(t) }()
	time.Sleep(50 * time.Millisecond)
	resume()
	<-entered
	time.Sleep(20 * time.Millisecond)
	if n := len(m.ops()); n != 1 {
		t.Errorf("%d requests of the dead connection were executed; want 1", n)
	}
}

func TestAnUnsettledExportIsRefusedAfterTheWait(t *testing.T) {
	m := newMemory(t, 1<<20)
	s := serve(t, nbd.Config{SettleWait: 30 * time.Millisecond}, nbd.Export{Name: "v", Queue: m})
	old := s.enter(t)
	resume := m.pause()
	defer resume()
	old.write(1, 0, 1)
	time.Sleep(20 * time.Millisecond)
	_ = old.Close()
	w := s.wire(t)
	w.expect(greeting)
	w.send("00000003" + option + "00000001 00000001 76")
	w.expectEnd()
	if got := s.Stats().Ended["requests of an ended connection do not finish"]; got != 1 {
		t.Errorf("Ended = %v; want one unsettled", s.Stats().Ended)
	}
}

func TestAClientThatTakesNoRepliesHoldsOnlyItsOwnConnection(t *testing.T) {
	m := newMemory(t, 1<<20)
	s := serve(t, nbd.Config{MaxInFlight: 4, DrainWait: 100 * time.Millisecond}, nbd.Export{Name: "v", Queue: m})
	deaf := s.enter(t)
	_ = deaf.SetDeadline(time.Now().Add(200 * time.Millisecond))
	var err error
	for i := uint64(0); err == nil; i++ { // 1 MiB replies that nobody reads
		_, err = deaf.Write(header(0, i, 0, 1<<20))
	}
	if n := len(m.ops()); n > 16 {
		t.Errorf("%d requests were executed for a client that reads nothing", n)
	}
	w := s.enter(t)
	w.write(1, 0, 1)
	w.expect("67446698 00000000 0000000000000001")
}

func TestTooManyConnectionsAreRefused(t *testing.T) {
	s := serve(t, nbd.Config{MaxConnections: 1}, nbd.Export{Name: "v", Queue: newMemory(t, 1<<20)})
	_ = s.enter(t)
	s.wire(t).expectEnd()
	if got := s.Stats(); got.Connections != 1 || got.Ended["too many connections"] != 1 {
		t.Errorf("Stats = %+v; want one connection and one refused", got)
	}
}

func TestTheServerRefusesABadConfiguration(t *testing.T) {
	if err := (nbd.Config{MaxInFlight: -1, DrainWait: -1}).Validate(); err == nil || !strings.Contains(err.Error(), "MaxInFlight") || !strings.Contains(err.Error(), "DrainWait") {
		t.Errorf("Validate = %v; want both faults", err)
	}
}

// The socket fills and empties again and again, so replies are cut anywhere and
// pass between whoever finished them and the writer.
func TestASlowReaderGetsEveryReplyWhole(t *testing.T) {
	const blocks, requests = 256, 3000
	m := newMemory(t, blocks<<12)
	for b := range blocks {
		m.data[b<<12] = byte(b)
	}
	s := serve(t, nbd.Config{MaxInFlight: 128}, nbd.Export{Name: "v", Queue: m})
	w := s.enter(t)
	go func() {
		for i := uint64(0); i < requests; i++ {
			_, _ = w.Write(header(0, i, i%blocks<<12, 4096)) // the reader below notices what is missing
		}
	}()
	seen := map[uint64]bool{}
	reply := make([]byte, 16+4096)
	for i := range requests {
		if i%97 == 0 {
			time.Sleep(3 * time.Millisecond) // the socket fills
		}
		if _, err := io.ReadFull(w, reply); err != nil {
			t.Fatalf("reply %d: %v", i, err)
		}
		cookie := binary.BigEndian.Uint64(reply[8:])
		if binary.BigEndian.Uint64(reply) != 0x67446698<<32 || seen[cookie] || reply[16] != byte(cookie%blocks) {
			t.Fatalf("reply %d is %x for cookie %d (seen before: %v)", i, reply[:17], cookie, seen[cookie])
		}
		seen[cookie] = true
	}
}
