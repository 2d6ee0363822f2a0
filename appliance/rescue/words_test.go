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
