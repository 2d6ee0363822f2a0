package boot

import (
	"errors"
	"maps"
	"testing"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/host/netcfg"
)

func TestAFibreIsFollowedWhenItStaysWhereItWasFound(t *testing.T) {
	spare, crossed := map[string]string{"fibre1": "eth3"}, map[string]string{"fibre1": "eth2", "fibre2": "eth1"}
	type look struct {
		at    int // seconds
		found map[string]string
		sure  bool
	}
	steady := func(from, to int, found map[string]string) (all []look) {
		for at := from; at < to; at += 2 {
			all = append(all, look{at, found, false})
		}
		return all
	}
	for _, tc := range []struct {
		name  string
		looks []look
	}{
		{"nothing is found", steady(0, 120, nil)},
		{"for twenty seconds", append(steady(0, 20, spare), look{20, spare, true})},
		{"somebody still plugs", append(append(steady(0, 18, spare), steady(18, 38, crossed)...), look{38, crossed, true})},
		{"it goes and comes back", append(append(append(steady(0, 18, spare), look{18, nil, false}), steady(20, 40, spare)...), look{40, spare, true})},
		{"init slept: what it heard is old", append(append(steady(0, 10, spare), steady(60, 80, spare)...), look{80, spare, true})},
		{"an attempt that failed has its minute", append(append(append(steady(0, 20, spare), look{20, spare, true}), steady(22, 80, spare)...), look{80, spare, true})},
	} {
		var s sighting
		for _, l := range tc.looks {
			if got := s.sure(time.Unix(int64(1000+l.at), 0), l.found); got != l.sure {
				t.Errorf("%s: after %d s sure = %v", tc.name, l.at, got)
			}
		}
	}
}

func TestWhatWouldMoveAndWhatMustNot(t *testing.T) {
	ports := func(a, b netcfg.Port) netcfg.Config {
		return netcfg.Config{Fibres: []netcfg.Fibre{{Name: "fibre1", Port: a}, {Name: "fibre2", Port: b}}}
	}
	roles := netcfg.Roles{"fibre1": {Name: "eth1"}, "fibre2": {Name: "eth2"}}
	links := []status.Link{{Path: "lan", Up: true}, {Path: "fibre1", Kind: "vote"}, {Path: "fibre2", Kind: "data", Up: true}}
	for _, tc := range []struct {
		name  string
		after netcfg.Config
		moved map[string]string
		busy  string
	}{
		{"nothing", ports("#1", "#2"), map[string]string{}, ""},
		{"a fibre without a session", ports("#3", "#2"), map[string]string{"fibre1": "eth1"}, ""},
		{"a fibre with one", ports("#1", "#3"), map[string]string{"fibre2": "eth2"}, "fibre2"},
		{"one would be displaced that has one", ports("#2", "#1"), map[string]string{"fibre1": "eth1", "fibre2": "eth2"}, "fibre2"},
	} {
		got := moved(ports("#1", "#2"), tc.after, roles)
		if !maps.Equal(got, tc.moved) || busy(links, got) != tc.busy {
			t.Errorf("%s: moved %v, busy %q; want %v, %q", tc.name, got, busy(links, got), tc.moved, tc.busy)
		}
	}
}

func TestFibresDoNotMoveDuringATrialOfTheLan(t *testing.T) {
	done := false
	change := func() error { done = true; return nil }
	l := &lanTrial{tried: &netcfg.Config{}}
	if err := l.aside(change); !errors.Is(err, errNotNow) || done {
		t.Errorf("aside = %v, done %v; want it refused", err, done)
	}
	l.drop()
	if err := l.aside(change); err != nil || !done {
		t.Errorf("aside = %v, done %v after the trial", err, done)
	}
}
