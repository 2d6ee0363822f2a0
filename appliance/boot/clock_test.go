package boot

import (
	"testing"
	"time"
)

func TestWhichCorrectionTellsOfADeadBattery(t *testing.T) {
	for _, tc := range []struct {
		name   string
		up, by time.Duration
		want   bool
	}{
		{"it forgot the date", 30 * time.Second, 25 * 365 * 24 * time.Hour, true},
		{"it is ahead of its time", 30 * time.Second, -24 * time.Hour, true},
		{"it runs a little wrong", 30 * time.Second, 40 * time.Second, false},
		{"the machine was frozen just after its start", time.Minute, 31 * time.Second, false},
		{"the machine slept a night", 20 * time.Hour, 9 * time.Hour, false},
	} {
		if got := tellsOfBattery(tc.up, tc.by); got != tc.want {
			t.Errorf("%s: %v; want %v", tc.name, got, tc.want)
		}
	}
}
