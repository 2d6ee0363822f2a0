package main

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// patience of the keepers that are tested.
var patience = limits{settled: 2 * time.Minute, maxPause: time.Minute, rescueAfter: 3}

// happens is something that a keeper is told of, at a second.
type happens struct {
	at   int
	what string // init ends, time passes, or the name of a signal
	want []order
}

var signals = map[string]syscall.Signal{
	"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "HUP": syscall.SIGHUP, "PIPE": syscall.SIGPIPE,
}

// Each story begins with an init that was started at second 0.
func TestWhatProcess1Does(t *testing.T) {
	do := func(o ...order) []order { return o }
	const ends, passes = "init ends", "time passes"
	for _, tt := range []struct {
		name  string
		story []happens
	}{
		{"an init that lives needs nothing", []happens{{3600, passes, nil}}},
		{"the first end: at once again", []happens{{500, ends, nil}, {500, passes, do(startInit)}}},
		{"the second: after a pause", []happens{
			{1, ends, nil}, {1, passes, do(startInit)},
			{2, ends, nil}, {2, passes, nil}, {3, passes, do(startInit)},
		}},
		{"the third: with consoles beside it, until init has settled", []happens{
			{1, ends, nil}, {1, passes, do(startInit)},
			{2, ends, nil}, {3, passes, do(startInit)},
			{4, ends, do(startRescue)}, {5, passes, nil}, {6, passes, do(startInit)},
			{125, passes, nil}, {126, passes, do(endRescue)}, {1000, passes, nil},
			{1001, ends, nil}, {1001, passes, do(startInit)}, // the first one again
		}},
		{"consoles are looked after at each further end", []happens{
			{0, ends, nil}, {0, passes, do(startInit)},
			{0, ends, nil}, {1, passes, do(startInit)},
			{1, ends, do(startRescue)}, {3, passes, do(startInit)},
			{3, ends, do(startRescue)}, {6, passes, nil}, {7, passes, do(startInit)},
		}},
		{"an init that ends each time just before it has settled", []happens{
			{119, ends, nil}, {119, passes, do(startInit)},
			{238, ends, nil}, {239, passes, do(startInit)},
			{358, ends, do(startRescue)},
		}},
		{"an init that had settled, and nobody had looked", []happens{
			{1, ends, nil}, {1, passes, do(startInit)},
			{200, ends, nil}, {200, passes, do(startInit)},
		}},
		{"kill 1, and Ctrl-Alt-Del", []happens{{10, "TERM", do(askReboot)}, {11, "INT", do(askReboot)}}},
		{"a wish to power off", []happens{{10, "USR2", do(askPowerOff)}}},
		{"what means nothing", []happens{{10, "HUP", nil}, {10, "PIPE", nil}}},
		{"an init that was asked and ends without having done it", []happens{{10, "USR1", do(askReboot)}, {12, ends, do(reboot)}}},
		{"the first wish counts", []happens{{10, "USR2", do(askPowerOff)}, {11, "INT", do(askReboot)}, {12, ends, do(powerOff)}}},
		{"a wish while there is no init", []happens{
			{1, ends, nil}, {1, passes, do(startInit)}, {2, ends, nil},
			{2, "INT", do(reboot)}, {2, "USR2", do(powerOff)}, {2, "HUP", nil},
		}},
	} {
		k := keeper{limits: patience}
		k.began(0)
		for _, h := range tt.story {
			var got []order
			now := time.Duration(h.at) * time.Second
			switch h.what {
			case ends:
				got = k.ended(now)
			case passes:
				if got = k.passed(now); slices.Contains(got, startInit) {
					k.began(now)
				}
			default:
				got = k.signalled(signals[h.what])
			}
			if !slices.Equal(got, h.want) {
				t.Errorf("%s: at %d s %s: %v; want %v", tt.name, h.at, h.what, got, h.want)
			}
		}
	}
}

// A keeper that is not asked in time would not start init again: whenever there is none, it
// says when.
func TestWithoutAnInitThereIsAlwaysANextTry(t *testing.T) {
	k := keeper{limits: patience}
	now := time.Duration(0)
	var pauses []time.Duration
	for range 12 {
		k.ended(now) // it could not even be started
		at, ok := k.due()
		if !ok || !slices.Contains(k.passed(at), startInit) {
			t.Fatalf("after %v: %v, %v", pauses, at, ok)
		}
		pauses, now = append(pauses, at-now), at
	}
	s := time.Second
	if want := []time.Duration{0, s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, 60 * s, 60 * s, 60 * s}; !slices.Equal(pauses, want) {
		t.Errorf("pauses %v; want %v", pauses, want)
	}
}
