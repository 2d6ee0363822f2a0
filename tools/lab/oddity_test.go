package main

import (
	"strings"
	"testing"
)

func TestAMachineOfWhichACardIsDead(t *testing.T) {
	node := Machine{Name: "a", Mode: "vm"}
	for _, tc := range []struct {
		name  string
		m     Machine
		o     Oddity
		cards string // in their order
		bad   string
	}{
		{"all is well", node, Oddity{}, "lan fibre1 fibre2", ""},
		{"the last card", node, Oddity{Without: "fibre2"}, "lan fibre1", ""},
		{"one in the middle", node, Oddity{Without: "fibre1"}, "lan fibre2", ""},
		{"no such card", node, Oddity{Without: "fibre3"}, "", "lan, fibre1, fibre2"},
		{"a process has none", Machine{Name: "a", Mode: "process"}, Oddity{Without: "fibre2"}, "", "is a process"},
	} {
		err := tc.o.check(tc.m)
		if (err != nil) != (tc.bad != "") || err != nil && !strings.Contains(err.Error(), tc.bad) {
			t.Errorf("%s: %v; want %q in it", tc.name, err, tc.bad)
		}
		if err != nil {
			continue
		}
		var cards []string
		for _, arg := range vmArgs(tc.m, "tcg", tc.o) {
			if rest, ok := strings.CutPrefix(arg, "stream,id="); ok {
				id, _, _ := strings.Cut(rest, ",")
				cards = append(cards, id)
			}
		}
		if got := strings.Join(cards, " "); got != tc.cards {
			t.Errorf("%s: cards %q; want %q", tc.name, got, tc.cards)
		}
	}
}
