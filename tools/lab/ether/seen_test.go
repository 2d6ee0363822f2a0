package ether_test

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"beffroi.dev/tools/lab/ether"
)

// frame begins with the addresses of everybody and of a card.
func frame(t *testing.T, mac, rest string) string {
	t.Helper()
	b, err := hex.DecodeString("ffffffffffff" + mac + strings.ReplaceAll(rest, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestASegmentTellsWhichCardsSpokeAndWhere(t *testing.T) {
	s := ether.NewSegment()
	pa, pb := s.Add("a"), s.Add("b")
	a, b := plug(t, pa), plug(t, pb)
	const guest, other = "523009b36f5c", "02beff016100"
	ip := "0800 4500 0100 0000 0000 4011 0000 00000000 ffffffff "
	ask, answer := ip+"0044 0043 0008 0000", ip+"0043 0044 0008 0000"
	for _, f := range []string{ask, answer, "0806 0001", "08"} { // the last is none
		a.send(frame(t, guest, f))
		b.hear(time.Minute)
	}
	b.send(frame(t, guest, ask))
	a.hear(time.Minute)
	pb.Set(func(in, _ *ether.Shape) { in.Cut = true })
	b.send(frame(t, other, ask)) // on a cut cable nobody is seen
	pb.Set(func(in, _ *ether.Shape) { in.Cut = false })
	b.send(frame(t, other, "8035"))
	a.hear(time.Minute)
	want := []ether.Sighting{
		{MAC: "02:be:ff:01:61:00", Port: "b", Frames: 1, Moved: 1, Newest: 6},
		{MAC: "52:30:09:b3:6f:5c", Port: "a", Frames: 3, Asked: 1, Newest: 3},
		{MAC: "52:30:09:b3:6f:5c", Port: "b", Frames: 1, Asked: 1, Newest: 5},
	}
	if got := s.Seen(); !slices.Equal(got, want) {
		t.Errorf("seen %+v; want %+v", got, want)
	}
}
