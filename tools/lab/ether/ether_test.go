package ether_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"beffroi.dev/tools/lab/ether"
)

// machine is the other end of a port.
type machine struct {
	t *testing.T
	net.Conn
}

func plug(t *testing.T, p *ether.Port) machine {
	a, b := net.Pipe()
	p.Attach(t.Context(), b)
	t.Cleanup(func() { _ = a.Close() })
	return machine{t, a}
}

func (m machine) send(text string) {
	m.t.Helper()
	b := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	if _, err := m.Write(append(b, text...)); err != nil {
		m.t.Fatal(err)
	}
}

// soon is how long a frame that must not come is waited for; one that must come may
// take until the test is given up.
const soon = 100 * time.Millisecond

// hear returns the next frame, or nothing when none comes within a time.
func (m machine) hear(within time.Duration) string {
	m.t.Helper()
	_ = m.SetReadDeadline(time.Now().Add(within))
	var h [4]byte
	if _, err := io.ReadFull(m, h[:]); errors.Is(err, os.ErrDeadlineExceeded) {
		return ""
	} else if err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(h[:]))
	if _, err := io.ReadFull(m, b); err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

func TestAFrameReachesAllOthersUnlessItsWayIsCut(t *testing.T) {
	s := ether.NewSegment()
	pa, pb, pc := s.Add("a"), s.Add("b"), s.Add("c")
	a, b, c := plug(t, pa), plug(t, pb), plug(t, pc)
	cutIn := func(in, _ *ether.Shape) { in.Cut = true }
	cutOut := func(_, out *ether.Shape) { out.Cut = true }
	heal := func(in, out *ether.Shape) { *in, *out = ether.Shape{}, ether.Shape{} }
	steps := []struct {
		name     string
		do       func()
		from     machine
		b, c, an bool // who hears it
	}{
		{"whole", func() {}, a, true, true, false},
		{"a cannot send", func() { pa.Set(cutIn) }, a, false, false, false},
		{"but hears", func() {}, b, false, true, true},
		{"healed", func() { pa.Set(heal) }, a, true, true, false},
		{"b cannot hear", func() { pb.Set(cutOut) }, a, false, true, false},
		{"c without power", func() { pb.Set(heal); pc.Power(false) }, a, true, false, false},
		{"c with power", func() { pc.Power(true) }, c, true, false, true},
	}
	for _, st := range steps {
		st.do()
		st.from.send(st.name)
		for _, l := range []struct {
			who   string
			m     machine
			hears bool
		}{{"a", a, st.an}, {"b", b, st.b}, {"c", c, st.c}} {
			if l.m == st.from {
				continue
			}
			within := soon
			if l.hears {
				within = time.Minute
			}
			if got := l.m.hear(within); (got == st.name) != l.hears {
				t.Errorf("%s: %s heard %q; want it heard %v", st.name, l.who, got, l.hears)
			}
		}
	}
}

func TestAHostSendsUnderItsOwnAddressOnly(t *testing.T) {
	s := ether.NewSegment()
	own := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	host, a := plug(t, s.AddHost("host", own)), plug(t, s.Add("a"))
	for _, tt := range []struct {
		name, frame string
		hears       bool
	}{
		{"what it sends back", "\x02\x00\x00\x00\x00\x01" + "\x02\x00\x00\x00\x00\x01" + "back", false},
		{"less than an address", "short", false},
		{"its own", "\x02\x00\x00\x00\x00\x01" + string(own) + "own", true},
	} {
		host.send(tt.frame)
		within := soon
		if tt.hears {
			within = time.Minute
		}
		if got := a.hear(within); (got == tt.frame) != tt.hears {
			t.Errorf("%s: heard %q; want it heard %v", tt.name, got, tt.hears)
		}
	}
}

func TestADelayIsAdded(t *testing.T) {
	s := ether.NewSegment()
	pa, pb := s.Add("a"), s.Add("b")
	a, b := plug(t, pa), plug(t, pb)
	pa.Set(func(in, _ *ether.Shape) { in.Delay = 30 * time.Millisecond })
	begun := time.Now()
	a.send("late")
	if got := b.hear(time.Minute); got != "late" || time.Since(begun) < 30*time.Millisecond {
		t.Errorf("heard %q after %v", got, time.Since(begun))
	}
}

func TestWhatIsNoFrameEndsTheConnection(t *testing.T) {
	s := ether.NewSegment()
	p := s.Add("a")
	a := plug(t, p)
	if _, err := a.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	_ = a.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read: %v; want the end", err)
	}
}
