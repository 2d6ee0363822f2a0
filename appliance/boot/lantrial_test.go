package boot

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"beffroi.dev/pkg/host/netcfg"
)

// What is on the wires and what is on the disk, after each way that a trial can go.
func TestANetworkThatNobodyKeepsIsUndone(t *testing.T) {
	lan := func(a string) netcfg.Config {
		return netcfg.Config{Lan: netcfg.Lan{Addresses: []netip.Prefix{netip.MustParsePrefix(a)}}}
	}
	old, tried := lan("10.0.0.1/24"), lan("10.0.0.2/24")
	now := time.Now()
	for _, tt := range []struct {
		name         string
		run          func(*lanTrial)
		refuse       int // applications that the kernel refuses, from the second on
		full         bool
		wire, saved  string
		stillOnTrial bool
	}{
		{name: "kept in time", run: func(l *lanTrial) { _ = l.tick(t.Context(), now.Add(59*time.Second)); _ = l.keep() }, wire: "10.0.0.2/24", saved: "10.0.0.2/24"},
		{name: "kept, and a minute later", run: func(l *lanTrial) { _ = l.keep(); _ = l.tick(t.Context(), now.Add(61*time.Second)) }, wire: "10.0.0.2/24", saved: "10.0.0.2/24"},
		{name: "nobody says anything", run: func(l *lanTrial) { _ = l.tick(t.Context(), now.Add(60*time.Second)) }, wire: "10.0.0.1/24"},
		{name: "too late", run: func(l *lanTrial) { _ = l.tick(t.Context(), now.Add(60*time.Second)); _ = l.keep() }, wire: "10.0.0.1/24"},
		{name: "undone by hand", run: func(l *lanTrial) { _ = l.undo(t.Context()) }, wire: "10.0.0.1/24"},
		{name: "a second one meanwhile", run: func(l *lanTrial) { _ = l.begin(t.Context(), tried, lan("10.0.0.3/24"), now) }, wire: "10.0.0.2/24", stillOnTrial: true},
		{name: "the disk is full", full: true, run: func(l *lanTrial) { _ = l.keep() }, wire: "10.0.0.2/24", stillOnTrial: true},
		{name: "the way back fails once", refuse: 1, run: func(l *lanTrial) {
			if l.tick(t.Context(), now.Add(60*time.Second)) == nil {
				t.Error("the failure is not told")
			}
			_ = l.tick(t.Context(), now.Add(61*time.Second))
		}, wire: "10.0.0.1/24"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wire, saved, applied := "", "", 0
			l := &lanTrial{
				apply: func(_ context.Context, c netcfg.Config) error {
					if applied++; applied > 1 && applied <= 1+tt.refuse {
						return errors.New("refused")
					}
					wire = c.Lan.Addresses[0].String()
					return nil
				},
				save: func(c netcfg.Config) error {
					if tt.full {
						return errors.New("no space left")
					}
					saved = c.Lan.Addresses[0].String()
					return nil
				},
			}
			if err := l.begin(t.Context(), old, tried, now); err != nil {
				t.Fatal(err)
			}
			tt.run(l)
			if wire != tt.wire || saved != tt.saved || (l.left(now) > 0) != tt.stillOnTrial {
				t.Errorf("wire %s, saved %q, left %v; want %s, %q, on trial %v", wire, saved, l.left(now), tt.wire, tt.saved, tt.stillOnTrial)
			}
		})
	}
}

func TestANetworkThatTheKernelRefusesIsUndoneAtOnce(t *testing.T) {
	var applied []string
	l := &lanTrial{apply: func(_ context.Context, c netcfg.Config) error {
		applied = append(applied, c.HostName)
		if c.HostName == "bad" {
			return errors.New("refused")
		}
		return nil
	}}
	if err := l.begin(t.Context(), netcfg.Config{HostName: "good"}, netcfg.Config{HostName: "bad"}, time.Now()); err == nil || l.left(time.Now()) != 0 {
		t.Errorf("begin = %v", err)
	}
	if len(applied) != 2 || applied[1] != "good" {
		t.Errorf("applied %v", applied)
	}
}
