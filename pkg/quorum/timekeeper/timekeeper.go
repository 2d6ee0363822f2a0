package timekeeper

import (
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
)

const (
	// Every is the time between two messages of a voter about its clock.
	Every = 5 * time.Second
	// Tolerance is how far clocks may be apart: well above what a message may take.
	Tolerance = 10 * time.Second
	// fresh is how long what another voter said is believed.
	fresh = 6 * Every
)

// Verdict is what the clocks say of this one.
type Verdict struct {
	Wrong  bool
	By     time.Duration // to be added to this clock
	Differ bool          // the clocks differ, and nobody knows which one is right
}

// Keeper remembers what the others said. The zero value is ready; its owner guards it.
type Keeper struct {
	heard map[ident.Node]reading
}

type reading struct {
	shown time.Time
	at    clock.Instant
}

// Heard takes what another voter's clock shows.
func (k *Keeper) Heard(from ident.Node, shown time.Time, now clock.Instant) {
	if k.heard == nil {
		k.heard = map[ident.Node]reading{}
	}
	k.heard[from] = reading{shown, now}
}

// Judge says what is wrong with this clock, which shows ours; guess tells that it is
// one. It may be asked again as soon as the clock was set.
func (k *Keeper) Judge(ours time.Time, guess bool, now clock.Instant) Verdict {
	var others []time.Duration // ahead of this clock
	for _, r := range k.heard {
		if since := now.Sub(r.at); since <= fresh {
			others = append(others, r.shown.Add(since).Sub(ours))
		}
	}
	if len(others) >= 2 && (others[0]-others[1]).Abs() <= Tolerance {
		if nearest := smaller(others[0], others[1]); nearest.Abs() > Tolerance {
			return Verdict{Wrong: true, By: nearest}
		}
		return Verdict{}
	}
	var v Verdict
	for _, ahead := range others {
		switch {
		case guess && ahead > Tolerance:
			if !v.Wrong || ahead < v.By {
				v = Verdict{Wrong: true, By: ahead}
			}
		case ahead.Abs() > Tolerance:
			v.Differ = !v.Wrong
		}
	}
	return v
}

func smaller(a, b time.Duration) time.Duration {
	if a.Abs() < b.Abs() {
		return a
	}
	return b
}
