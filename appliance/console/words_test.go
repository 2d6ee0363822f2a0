package console

import (
	"testing"

	"beffroi.dev/pkg/host/netcfg/probe"
)

func TestEveryFaultOfACableIsWorded(t *testing.T) {
	words, err := loadWords()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range probe.Kinds() {
		for _, part := range []string{".what", ".means", ".do"} {
			if key := "p.cable-" + string(k) + part; !words.has(key) {
				t.Errorf("%s is not worded", key)
			}
		}
	}
}
