package rescue

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"beffroi.dev/appliance/operator"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/pkg/host/netcfg"
)

// widow is a node whose twin is gone, on an appliance.
func widow(s *Snapshot) {
	states["no-twin"](s)
	s.Operator = operator.State{Profile: "production", Lan: &netcfg.Lan{Port: "#0", Mode: netcfg.ModeDHCP}}
}

// toReplace are the keys from the first screen to the entry.
const toReplace = "m7\r"

var replaceStates = map[string]struct {
	change func(*Snapshot)
	keys   string
}{
	"replace-menu":    {keys: "m7"},
	"replace-means":   {keys: toReplace},
	"replace-alive":   {change: func(s *Snapshot) { *s = healthy(); s.Operator.Profile = "production" }, keys: toReplace},
	"replace-alone":   {change: func(s *Snapshot) { s.Pair.Vouched = false }, keys: toReplace},
	"replace-working": {change: replaceAct(pairing.Act{Working: true, Step: pairing.StepVoting, Member: "b", Replaces: "b"}), keys: toReplace},
	"replace-failed": {change: replaceAct(pairing.Act{Step: pairing.StepUndoing, Member: "b", Replaces: "b",
		Fault: &pairing.Fault{Reason: pairing.Refused, Detail: "refused: replace: node b is in sync for group citizen: its twin must go on alone first"}}), keys: toReplace},
	"replace-goes-on": {change: replaceAct(pairing.Act{Step: pairing.StepTelling, Member: "b", Replaces: "b", Fault: &pairing.Fault{Reason: pairing.Lost, Detail: "EOF"}}), keys: toReplace},
}

func replaceAct(a pairing.Act) func(*Snapshot) {
	return func(s *Snapshot) { s.Operator.Pairing = &pairing.Status{Act: a} }
}

func TestGoldenScreensOfAReplacement(t *testing.T) {
	for l, tag := range []string{"fr", "en"} {
		for name, st := range replaceStates {
			s := healthy()
			widow(&s)
			if st.change != nil {
				st.change(&s)
			}
			m := model(Lang(l), s)
			press(m, st.keys)
			golden(t, name+"."+tag, m)
		}
	}
}

// From the menu to the word that it is done: what is asked of init, and where each
// answer leads.
func TestAReplacementAsksInitStepByStep(t *testing.T) {
	s := healthy()
	widow(&s)
	m := model(English, s)
	step := func(keys string, want operator.Ask, answer error, title string) {
		t.Helper()
		all := press(m, keys)
		if len(all) != 1 || all[0].Ask == nil {
			t.Fatalf("%q: effects %+v\n%s", keys, all, m.View().Text())
		}
		if d := cmp.Diff(want, *all[0].Ask, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); d != "" {
			t.Errorf("%q asks:\n%s", keys, d)
		}
		m.Done(Result{Effect: all[0], Err: answer})
		if got := m.top().title(m); got != title {
			t.Errorf("after %q the title is %q; want %q", keys, got, title)
		}
	}
	step(toReplace+"\x1b[B\r", operator.Ask{Do: operator.Look}, nil, "Replace the other node: the code")
	s.Operator.Pairing = &pairing.Status{Heard: []pairing.Seen{{Tag: "K7", Where: "[fe80::beff:2%fibre1]:7100"}}}
	m.Snapshot(s)
	if got := m.View().Text(); !strings.Contains(got, "K7...") {
		t.Errorf("the machine in reach is not shown:\n%s", got)
	}
	if all := press(m, "abc\t\r"); len(all) != 0 {
		t.Errorf("half a code is asked about: %+v", all)
	}
	code := string(pairing.NewCode())
	want := operator.Ask{Do: operator.Replace, Code: code}
	step("\x1b[A\x7f\x7f\x7f"+code+"\t\r", want, &pairing.Fault{Reason: pairing.OtherRelease, Detail: "2 / 1"}, "Replace the other node: the code")
	if got := m.View().Text(); !strings.Contains(got, "different releases") {
		t.Errorf("the refusal is not worded:\n%s", got)
	}
	step("\r", want, nil, "Replace the other node")
	s.Operator.Pairing.Act = pairing.Act{Working: true, Step: pairing.StepPreparing, Member: "b", Replaces: "b"}
	m.Snapshot(s)
	if got := m.View().Text(); !strings.Contains(got, "Switch no machine off") {
		t.Errorf("while it works:\n%s", got)
	}
	s.Operator.Pairing.Act = pairing.Act{Step: pairing.StepReplaced, Member: "b", Replaces: "b"}
	m.Snapshot(s)
	m.Tick(night.Add(time.Second))
	if got := m.View().Text(); !strings.Contains(got, "belongs to the pair") {
		t.Errorf("when it is done:\n%s", got)
	}
}

func TestOnlyAnApplianceOfAPairOffersAReplacement(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Snapshot)
		want   bool
	}{
		{"its twin is gone", widow, true},
		{"without a pair", blank, false},
		{"a process of somebody's machine", states["no-twin"], false},
	} {
		s := healthy()
		tt.change(&s)
		m := model(English, s)
		press(m, "m")
		if got := strings.Contains(m.View().Text(), "Replace the other node"); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
