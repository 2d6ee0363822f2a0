package timekeeper_test

import (
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/timekeeper"
)

func TestWhoseClockIsWrong(t *testing.T) {
	const s, y = time.Second, 8760 * time.Hour
	right := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		ours   time.Duration // ahead of the true time
		guess  bool
		others []time.Duration
		want   timekeeper.Verdict
	}{
		{"all agree", 0, false, []time.Duration{s, -s}, timekeeper.Verdict{}},
		{"a dead battery, two others", -20 * y, false, []time.Duration{0, s}, timekeeper.Verdict{Wrong: true, By: 20 * y}},
		{"ours runs ahead, two others", y, false, []time.Duration{0, 2 * s}, timekeeper.Verdict{Wrong: true, By: -y + 2*s}},
		{"one of the others is wrong, and ours is right", 0, false, []time.Duration{-20 * y, 0}, timekeeper.Verdict{Differ: true}},
		{"ours is right, and nobody is there", 0, false, nil, timekeeper.Verdict{}},
		{"a guess, and nobody is there", -y, true, nil, timekeeper.Verdict{}},
		{"a guess, one other", -y, true, []time.Duration{0}, timekeeper.Verdict{Wrong: true, By: y}},
		{"a guess, one other that is behind it", -y, true, []time.Duration{-20 * y}, timekeeper.Verdict{Differ: true}},
		{"a guess, two others that disagree", -y, true, []time.Duration{0, -20 * y}, timekeeper.Verdict{Wrong: true, By: y}},
		{"a guess, two others later that disagree", -y, true, []time.Duration{y, 0}, timekeeper.Verdict{Wrong: true, By: y}},
		{"a guess that is right", 0, true, []time.Duration{s}, timekeeper.Verdict{}},
		{"one other differs", 0, false, []time.Duration{-time.Hour}, timekeeper.Verdict{Differ: true}},
		{"within what a message may take", 0, false, []time.Duration{9 * s, 4 * s}, timekeeper.Verdict{}},
	} {
		for _, turned := range []bool{false, true} { // whom it heard first does not matter
			var k timekeeper.Keeper
			at := clock.Instant(time.Hour)
			for i, o := range tc.others {
				id := ident.Node(2 + i)
				if turned {
					id = ident.Node(9 - i)
				}
				k.Heard(id, right.Add(o-s), at)
			}
			ours := right.Add(tc.ours)
			if got := k.Judge(ours, tc.guess, at.Add(s)); got != tc.want {
				t.Errorf("%s: %+v; want %+v", tc.name, got, tc.want)
			}
			if got := k.Judge(ours.Add(tc.want.By), false, at.Add(s)); got.Wrong {
				t.Errorf("%s: after the correction: %+v", tc.name, got)
			}
			if got := k.Judge(ours, tc.guess, at.Add(time.Hour)); got != (timekeeper.Verdict{}) {
				t.Errorf("%s: an hour later: %+v; what was heard is old", tc.name, got)
			}
		}
	}
}
