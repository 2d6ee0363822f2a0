package rescue

import (
	"slices"
	"strings"
	"testing"

	"beffroi.dev/appliance/boot"
	"beffroi.dev/pkg/host/netcfg/probe"
)

// A cause of the boot is shown in the reader's language, with its detail if it has one.
func TestEveryCauseOfATrialHasItsWords(t *testing.T) {
	for _, c := range boot.Causes() {
		shown := [2]string{}
		for l := range shown {
			s := healthy()
			s.Boot.Trial = &Trial{State: "failed", Cause: string(c), Detail: "DETAIL"}
			shown[l] = model(Lang(l), s).trialCause(string(c), "DETAIL")
			if strings.Contains(shown[l], string(c)) || strings.Contains(shown[l], "%!") {
				t.Errorf("%s is not worded: %q", c, shown[l])
			}
		}
		if shown[0] == shown[1] || strings.Contains(shown[0], "DETAIL") != strings.Contains(shown[1], "DETAIL") {
			t.Errorf("%s: %q", c, shown)
		}
	}
	if got := model(French, healthy()).trialCause("moon-phase", "full"); got != "moon-phase full" {
		t.Errorf("a cause of another release: %q", got)
	}
}

// A fault of the boot says what it means and what to do, in both languages, and keeps
// what the machine said.
func TestEveryFaultOfABootHasItsWords(t *testing.T) {
	for _, f := range boot.Faults() {
		for l := range 2 {
			m := model(Lang(l), healthy())
			rows := m.failure(Phase{State: "failed", Error: "DETAIL", Fault: string(f)})
			var shown strings.Builder
			for _, r := range rows {
				for _, p := range r {
					shown.WriteString(p.text + " ")
				}
			}
			for _, want := range []string{"DETAIL", words["fault."+string(f)][l][:10], words["do.fault."+string(f)][l][:10]} {
				if !strings.Contains(shown.String(), want) {
					t.Errorf("%s is not worded: %q lacks %q", f, shown.String(), want)
				}
			}
		}
	}
	rows := model(French, healthy()).failure(Phase{Error: strings.Repeat("mot ", 200), Fault: "disk-missing"})
	if len(rows) > 4+maxDetail {
		t.Errorf("a long error takes %d lines", len(rows))
	}
	if rows := model(French, healthy()).failure(Phase{Error: "odd", Fault: "moon-phase"}); len(rows) != 1 || rows[0][0].text != "odd" {
		t.Errorf("a fault of another release: %v", rows)
	}
}

func TestEveryFaultOfACableHasItsWordsAndItsRank(t *testing.T) {
	for _, k := range probe.Kinds() {
		code := "cable-" + string(k)
		for _, key := range []string{"what." + code, "do." + code} {
			if w := words[key]; w[0] == "" || w[1] == "" {
				t.Errorf("%s is not worded in both languages", key)
			}
		}
		if !slices.ContainsFunc(alarms, func(a struct {
			code  string
			level level
		}) bool {
			return a.code == code
		}) {
			t.Errorf("%s has no rank among the alarms", code)
		}
	}
}
