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

// blank is a node without a pair that hears its twin and a witness.
func blank(s *Snapshot) {
	states["unpaired"](s)
	s.Host.Name = "beffroi"
	s.Boot.Phases[8].State, s.Boot.Phases[8].Error = "running", ""
	s.Net.Ports[0].Addresses, s.Net.Ports[1].Addresses, s.Net.Ports[2].Addresses = s.Net.Ports[0].Addresses[:1], nil, nil
	s.Operator = operator.State{Profile: "production", Lan: &netcfg.Lan{Port: "#0", Mode: netcfg.ModeDHCP},
		Pairing: &pairing.Status{Code: "K7MQ-XV3D", Heard: []pairing.Seen{{Tag: "B4", Where: "[fe80::beff:2%fibre1]:7100"}, {Tag: "W9", Witness: true, Where: "10.20.0.53:7100"}}}}
}

var asked = pairing.Request{Town: "Beauval-sur-Marne", Here: "principal", There: "secours", Service: netip.MustParsePrefix("10.20.0.80/24"), Profile: "production"}

// foundings are the situations of a founding, and the keys to what is shown.
var foundingStates = map[string]struct {
	change func(*Snapshot)
	keys   string
}{
	"blank": {},
	"blank-nocard": {change: func(s *Snapshot) {
		s.Operator.Pairing.Code, s.Operator.Pairing.Heard, s.Net = "", nil, Net{}
		s.Boot.Phases[8].State, s.Boot.Phases[8].Error = "failed", "lan: there is no card #0; this machine has no card: is its driver missing?"
	}},
	"blank-menu":    {keys: "m"},
	"blank-alone":   {change: func(s *Snapshot) { s.Operator.Pairing.Heard = nil }},
	"blank-guessed": {change: func(s *Snapshot) { s.Operator.Pairing.Wrong = 2 }},
	"blank-kept":    {change: func(s *Snapshot) { s.Operator.Pairing.Kept = "Beauval-sur-Marne" }},
	"blank-forget":  {change: func(s *Snapshot) { s.Operator.Pairing.Kept = "Beauval-sur-Marne" }, keys: "m\r"},
	"blank-taken": {change: func(s *Snapshot) {
		s.Operator.Pairing.Taken = &pairing.Fault{Reason: pairing.StoreTaken, Detail: "pair 0123456789abcdef"}
	}},
	"blank-erase":   {change: func(s *Snapshot) { s.Operator.Pairing.Taken = &pairing.Fault{Reason: pairing.StoreTaken} }, keys: "m\x1b[B\rOui\r"},
	"found-request": {keys: "m\rBeauval\t\t\t10.20.0.80\t"},
	"found-bad":     {keys: "m\rBeauval\t\t\t10.20.0\t\r"},
	"found-twin":    {change: func(s *Snapshot) { s.Operator.Pairing.Act.Request = &asked }, keys: "m\rk7mq"},
	"found-typo":    {change: func(s *Snapshot) { s.Operator.Pairing.Act.Request = &asked }, keys: "m\rk7mqxv3c\t\r"},
	"found-witness": {change: func(s *Snapshot) {
		s.Operator.Pairing.Act = pairing.Act{Request: &asked, Twin: "[fe80::2%fibre1]:7100"}
		s.Operator.Pairing.Heard = nil
	}, keys: "m\r"},
	"found-confirm":  {change: ready, keys: "m\r"},
	"found-progress": {change: func(s *Snapshot) { ready(s); working(s, nil) }, keys: "m\r"},
	"found-failed": {change: func(s *Snapshot) {
		ready(s)
		working(s, nil)
	}, keys: "m\r"},
	"found-secrets": {change: func(s *Snapshot) {
		h := healthy()
		s.Pairing, s.Net, s.Boot = h.Pairing, h.Net, h.Boot
		s.Operator.Pairing = &pairing.Status{Pending: []string{"b"}, Secrets: &pairing.Secrets{Password: "k7mq-xv3d-9hbt-2wpe", Rescue: "a2b3-c4d5-e6f7", Token: strings.Repeat("0123456789", 4)}}
	}},
	"found-noted": {change: func(s *Snapshot) {
		s.Pairing.Paired = true
		s.Operator.Pairing = &pairing.Status{Secrets: &pairing.Secrets{Password: "k7mq-xv3d-9hbt-2wpe"}}
	}, keys: "\r"},
	"lan-form":    {keys: "m2\re"},
	"lan-bad":     {keys: "m2\re \t10.20.0.11\t\t\t\r"},
	"lan-confirm": {keys: "m2\re \t10.20.0.11/24\t10.20.0.1\t\t\r"},
	"lan-fixed": {change: func(s *Snapshot) {
		s.Pairing.Paired, s.Boot, s.Pair = true, booted("done"), healthy().Pair
		s.Operator.Pairing, s.Operator.Fixed = nil, []string{"10.20.0.11"}
	}, keys: "m\re\t\t\t\t12\r"},
}

func ready(s *Snapshot) {
	s.Operator.Pairing.Act = pairing.Act{Request: &asked, Twin: "[fe80::2%fibre1]:7100", Witness: "10.20.0.53:7100"}
}

func working(s *Snapshot, f *pairing.Fault) {
	a := &s.Operator.Pairing.Act
	a.Working, a.Step, a.Member, a.Fault, a.At = f == nil, pairing.StepPreparing, "b", f, "witness"
}

func inFounding(l Lang, name string) *Model {
	s := healthy()
	blank(&s)
	st := foundingStates[name]
	if st.change != nil {
		st.change(&s)
	}
	m := model(l, s)
	press(m, st.keys)
	if name == "found-failed" { // it fails while it is looked at
		working(&s, &pairing.Fault{Reason: pairing.Unreachable, Detail: "10.20.0.53:7100 (connection refused)"})
		m.Snapshot(s)
	}
	return m
}

func TestGoldenScreensOfAFounding(t *testing.T) {
	for l, tag := range []string{"fr", "en"} {
		for name := range foundingStates {
			golden(t, name+"."+tag, inFounding(Lang(l), name))
		}
	}
}

// A founding from the first question to the noted passwords: what is asked of init,
// and where each answer leads.
func TestAFoundingAsksInitStepByStep(t *testing.T) {
	s := healthy()
	blank(&s)
	m := model(English, s)
	step := func(keys string, want operator.Ask, answer error, title string) {
		t.Helper()
		all := press(m, keys)
		if len(all) != 1 || all[0].Ask == nil {
			t.Fatalf("%q: effects %+v", keys, all)
		}
		if d := cmp.Diff(want, *all[0].Ask, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); d != "" {
			t.Errorf("%q asks:\n%s", keys, d)
		}
		m.Done(Result{Effect: all[0], Err: answer})
		if got := m.top().title(m); got != title {
			t.Errorf("after %q the title is %q; want %q", keys, got, title)
		}
	}
	r := asked
	r.Town, r.Here, r.There, r.Service = "Beauval", "main", "recovery", netip.MustParsePrefix("10.20.0.80/32")
	begin := operator.Ask{Do: operator.Begin, Request: &r}
	step("m\rBeauval\t\t\t10.20.0.80\t\r", begin, &pairing.Fault{Reason: pairing.BadRequest, Detail: "elsewhere"}, "Found the pair (1/4)")
	if got := m.View().Text(); !strings.Contains(got, "is in no network") {
		t.Errorf("the refusal is not worded:\n%s", got)
	}
	step("\r", begin, nil, "Found the pair (2/4)")
	code := string(pairing.NewCode())
	step(code+"\t\r", operator.Ask{Do: operator.Meet, Code: code}, &pairing.Fault{Reason: pairing.CodeWrong}, "Found the pair (2/4)")
	step("\r", operator.Ask{Do: operator.Meet, Code: code}, nil, "Found the pair (3/4)")
	step(code+"\t10.9.9.9\r", operator.Ask{Do: operator.Meet, Witness: true, Code: code, Address: "10.9.9.9"}, nil, "Found the pair (4/4)")
	step("\x1b[B\r", operator.Ask{Do: operator.Found}, nil, "Founding of the pair")
	s.Pairing.Paired = true
	s.Operator.Pairing = &pairing.Status{Secrets: &pairing.Secrets{Password: "k7mq-xv3d-9hbt-2wpe"}}
	m.Snapshot(s)
	m.Tick(night.Add(time.Second))
	if got := m.View().Text(); !strings.Contains(got, "k7mq-xv3d-9hbt-2wpe") {
		t.Errorf("the password is not shown:\n%s", got)
	}
	step("\r\x1b[B\r", operator.Ask{Do: operator.Noted}, nil, "First passwords")
	s.Operator.Pairing = nil
	m.Snapshot(s)
	if got := m.View().Text(); strings.Contains(got, "k7mq") {
		t.Errorf("noted passwords are still shown:\n%s", got)
	}
}

func TestATrialThatNobodyKeepsIsToldSo(t *testing.T) {
	s := healthy()
	blank(&s)
	m := model(English, s)
	all := press(m, "m2\re \t10.20.0.11/24\t10.20.0.1\t\t\r\x1b[B\r")
	want := operator.Ask{Do: operator.TryLan, Lan: &netcfg.Lan{Port: "#0", Mode: netcfg.ModeStatic, Addresses: []netip.Prefix{netip.MustParsePrefix("10.20.0.11/24")}, Gateway4: netip.MustParseAddr("10.20.0.1")}}
	if len(all) != 1 || all[0].Ask == nil {
		t.Fatalf("effects: %+v", all)
	}
	if d := cmp.Diff(want, *all[0].Ask, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); d != "" {
		t.Error(d)
	}
	m.Done(Result{Effect: all[0]})
	s.Operator.Trial = 42
	m.Snapshot(s)
	m.Tick(night.Add(10 * time.Second))
	if got := m.View().Text(); !strings.Contains(got, "on trial") || !strings.Contains(got, "42") {
		t.Errorf("the trial is not shown:\n%s", got)
	}
	s.Operator.Trial = 0
	m.Snapshot(s)
	m.Tick(night.Add(61 * time.Second))
	if got := m.View().Text(); !strings.Contains(got, "Nobody confirmed") {
		t.Errorf("what became of the trial is not told:\n%s", got)
	}
}

func TestWhatIsTypedForTheLanIsChecked(t *testing.T) {
	for _, tt := range []struct{ mode, address, gateway, dns, vlan, bad string }{
		{"static", "10.0.0.2/24", "10.0.0.254", "9.9.9.9, 1.1.1.1", "12", ""},
		{"static", "10.0.0.2/24", "", "", "", ""},
		{"dhcp", "nonsense", "nonsense", "", "", ""},
		{"static", "10.0.0.2", "", "", "", "bad.noprefix"},
		{"static", "10.0.0.300/24", "", "", "", "bad.address"},
		{"static", "10.0.0.0/24", "", "", "", "bad.netaddress"},
		{"static", "10.0.0.2/24", "10.0.1.1", "", "", "bad.faraway"},
		{"static", "10.0.0.2/24", "10.0.0.2", "", "", "bad.faraway"},
		{"static", "10.0.0.2/24", "x", "", "", "bad.gateway"},
		{"dhcp", "", "", "dns.example", "", "bad.dns"},
		{"dhcp", "", "", "", "4095", "bad.vlan"},
	} {
		s := healthy()
		blank(&s)
		v := newLan(model(English, s)).(*formView)
		if tt.mode == "static" {
			v.get("lan.mode").chosen = 1
		}
		for name, value := range map[string]string{"address": tt.address, "gateway": tt.gateway, "dns": tt.dns, "vlan": tt.vlan} {
			v.get("lan." + name).text = []rune(value)
		}
		if l, bad, _ := readLan(*s.Operator.Lan, v); bad != tt.bad || bad == "" && l.Port != "#0" {
			t.Errorf("%+v: %q, %+v", tt, bad, l)
		}
	}
}
