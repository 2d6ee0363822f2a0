package rescue

import (
	"slices"
	"testing"

	"beffroi.dev/pkg/host/netcfg/probe"
)

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
