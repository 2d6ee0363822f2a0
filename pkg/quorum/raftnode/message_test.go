package raftnode

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"beffroi.dev/pkg/ident"
)

func TestTheBytesOfARenewalNeverChange(t *testing.T) {
	if got := hex.EncodeToString(encodeAsk(7)); got != "020000000000000007" {
		t.Errorf("ask: %s", got)
	}
	got := hex.EncodeToString(encodeAnswer(7, map[ident.Node]time.Duration{2: time.Second, 1: 5}))
	if want := "030000000000000007" + "0000000000000001" + "0000000000000005" + "0000000000000002" + "000000003b9aca00"; got != want {
		t.Errorf("answer:\n got %s\nwant %s", got, want)
	}
}

func TestTheBytesOfATimeOfDayNeverChange(t *testing.T) {
	if got := hex.EncodeToString(encodeWall(time.UnixMilli(1764072000123))); got != "040000019abae28a7b" {
		t.Errorf("wall: %s", got)
	}
}

func FuzzWall(f *testing.F) {
	f.Add(encodeWall(time.UnixMilli(1764072000123))[1:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, err := decodeWall(b); err == nil && (!bytes.Equal(encodeWall(at)[1:], b) || at.Year() > 9999) {
			t.Errorf("%x became %v", b, at)
		}
	})
}

func FuzzRenewal(f *testing.F) {
	f.Add(encodeAnswer(7, map[ident.Node]time.Duration{2: time.Second})[1:])
	f.Fuzz(func(t *testing.T, b []byte) {
		number, silences, err := decodeRenewal(b)
		if err != nil {
			return
		}
		n2, s2, err := decodeRenewal(encodeAnswer(number, silences)[1:])
		if err != nil || n2 != number || len(s2) != len(silences) {
			t.Errorf("%x became %d %v %v", b, n2, s2, err)
		}
		if len(silences) == 0 && !bytes.Equal(encodeAsk(number)[1:], b) {
			t.Errorf("ask %x changed", b)
		}
	})
}
