package rescue

import (
	"fmt"
	"net/netip"
	"slices"
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
	"lan-form": {keys: "m2\re"},
	"lan-bad":  {keys: "m2\re \t10.20.0.11" + tabs(7) + "\r"},
	"lan-operators": {change: func(s *Snapshot) {
		s.Operator.Lan.Operators = []netip.Prefix{netip.MustParsePrefix("10.20.0.5/32"), netip.MustParsePrefix("10.20.8.0/24")}
	}, keys: "m2\re" + tabs(8)},
	"lan-screen": {change: func(s *Snapshot) {
		s.Operator.Lan.Operators = []netip.Prefix{netip.MustParsePrefix("10.20.0.5/32"), netip.MustParsePrefix("2001:db8:20:8::/64")}
		s.Net.Ports[0].Addresses = append(s.Net.Ports[0].Addresses, netip.MustParsePrefix("2001:db8:20::11/64"))
		s.Net.Gateway6 = netip.MustParseAddr("fe80::1")
	}, keys: "m2\r"},
	"lan-worst": {change: func(s *Snapshot) {
		s.Pairing.Paired, s.Boot, s.Pair = true, booted("done"), healthy().Pair
		s.Operator.Pairing, s.Operator.Fixed = nil, []string{"10.20.0.11", "2001:db8:1234:5678:9abc:def0:1234:5678"}
	}, keys: "m\re \t10.20.0.11/24\t10.20.0.1\t \t2001:db8:1234:5678:9abc:def0:1234:5678/64\tfe80::1234:5678:9abc:def0\t\t12\t10.20.108.101 10.20.108.102 10.20.108.103 10.20.108.0/24 10.20.109.0/24\r"},
	"lan-badoperators": {keys: "m2\re" + tabs(8) + "10.20.8.5/24\r"},
	"lan-six":          {keys: "m2\re \t10.20.0.11/24\t10.20.0.1\t \t2001:db8:20::11/64\tfe80::1\t\t\t10.20.0.5\r"},
	"lan-confirm":      {keys: "m2\re \t10.20.0.11/24\t10.20.0.1" + tabs(6) + "\r"},
	"lan-fixed": {change: func(s *Snapshot) {
		s.Pairing.Paired, s.Boot, s.Pair = true, booted("done"), healthy().Pair
		s.Operator.Pairing, s.Operator.Fixed = nil, []string{"10.20.0.11"}
	}, keys: "m\re" + tabs(7) + "12\t\r"},
}

func tabs(n int) string { return strings.Repeat("\t", n) }

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
	all := press(m, "m2\re \t10.20.0.11/24\t10.20.0.1"+tabs(6)+"\r\x1b[B\r")
	want := operator.Ask{Do: operator.TryLan, Lan: &netcfg.Lan{Port: "#0", Mode: netcfg.ModeStatic, IPv6: netcfg.IPv6Auto, Addresses: []netip.Prefix{netip.MustParsePrefix("10.20.0.11/24")}, Gateway4: netip.MustParseAddr("10.20.0.1")}}
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

func TestIPv6AndOperatorsAreChecked(t *testing.T) {
	for _, tt := range []struct{ mode, address, gateway, operators, want, bad string }{
		{"auto", "", "", "", "auto [] invalid IP []", ""},
		{"auto", "2001:db8::2/64", "nonsense", "", "auto [2001:db8::2/64] invalid IP []", ""},
		{"off", "nonsense", "nonsense", "", "off [] invalid IP []", ""},
		{"static", "2001:db8::2/64", "", "", "static [2001:db8::2/64] invalid IP []", ""},
		{"static", "2001:db8::2/64, fd12::2/64", "fe80::1", "", "static [2001:db8::2/64 fd12::2/64] fe80::1 []", ""},
		{"static", "2001:db8::2/64", "2001:db8::1", "", "static [2001:db8::2/64] 2001:db8::1 []", ""},
		{"auto", "", "", "10.0.0.5, 10.1.0.0/16 2001:db8:9::/48 10.0.0.5", "auto [] invalid IP [10.0.0.5/32 10.1.0.0/16 2001:db8:9::/48]", ""},
		{"static", "", "", "", "", "bad.noprefix6"},
		{"static", "2001:db8::2", "", "", "", "bad.noprefix6"},
		{"auto", "2001:db8::2", "", "", "", "bad.noprefix6"},
		{"static", "10.0.0.2/24", "", "", "", "bad.address6"},
		{"static", "::ffff:10.0.0.2/120", "", "", "", "bad.address6"},
		{"static", "fe80::2/64", "", "", "", "bad.address6"},
		{"static", "ff02::1/64", "", "", "", "bad.address6"},
		{"static", "2001:db8::/64", "", "", "", "bad.netaddress"},
		{"static", "2001:db8::2/64", "10.0.0.1", "", "", "bad.gateway6"},
		{"static", "2001:db8::2/64", "fe80::1%eth0", "", "", "bad.gateway6"},
		{"static", "2001:db8::2/64", "2001:db8:1::1", "", "", "bad.faraway"},
		{"static", "2001:db8::2/64", "2001:db8::2", "", "", "bad.faraway"},
		{"auto", "", "", "the office", "", "bad.operators"},
		{"auto", "", "", "0.0.0.0/0", "", "bad.operators"},
		{"auto", "", "", "10.0.0.5/24", "", "bad.operatorhost"},
		{"auto", "", "", "1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5 1.0.0.6 1.0.0.7 1.0.0.8 1.0.0.9 1.0.0.10 1.0.0.11 1.0.0.12 1.0.0.13 1.0.0.14 1.0.0.15 1.0.0.16 1.0.0.17", "", "bad.manyoperators"},
	} {
		s := healthy()
		blank(&s)
		v := newLan(model(English, s)).(*formView)
		v.get("lan.ipv6").chosen = slices.Index(modes6, tt.mode)
		for name, value := range map[string]string{"address6": tt.address, "gateway6": tt.gateway, "operators": tt.operators} {
			v.get("lan." + name).text = []rune(value)
		}
		l, bad, field := readLan(*s.Operator.Lan, v)
		got := fmt.Sprint(l.IPv6, " ", l.Addresses, " ", l.Gateway6, " ", l.Operators)
		if bad != tt.bad || bad == "" && got != tt.want {
			t.Errorf("%+v: %q (%s), %s", tt, bad, field, got)
		}
		if bad == "" {
			if err := (netcfg.Config{Lan: l}).Validate(); err != nil {
				t.Errorf("%+v passes the form and is refused by init: %v", tt, err)
			}
			s.Operator.Lan = &l
			if again, bad, _ := readLan(l, newLan(model(English, s)).(*formView)); bad != "" || fmt.Sprint(again) != fmt.Sprint(l) {
				t.Errorf("%+v: shown and taken again unchanged it is %+v, %q", tt, again, bad)
			}
		} else if words[bad][0] == "" || words[bad][1] == "" {
			t.Errorf("%s is not worded in both languages", bad)
		}
	}
}

// A pair whose IPv6 was off has its own addresses all the same: the form shows "off", and
// leaves them alone.
func TestThePairsOwnIPv6IsNotShownAsAPersons(t *testing.T) {
	s := healthy()
	blank(&s)
	s.Operator.Lan.IPv6 = netcfg.IPv6Static
	if v := newLan(model(English, s)).(*formView); modes6[v.get("lan.ipv6").chosen] != netcfg.IPv6Off {
		t.Errorf("shown: %s", modes6[v.get("lan.ipv6").chosen])
	}
}

func TestTheDefaultRouteOfIPv6(t *testing.T) {
	const zero = "00000000000000000000000000000000"
	for name, tt := range map[string][2]string{
		"none":       {"20010db8000000000000000000000000 40 " + zero + " 00 " + zero + " 00000100 1 0 1 br-lan\n", "invalid IP"},
		"a router":   {zero + " 00 " + zero + " 00 fe800000000000000000000000000001 00000400 1 0 3 br-lan\n", "fe80::1"},
		"a dead end": {zero + " 00 " + zero + " 00 " + zero + " ffffffff 1 0 200200 lo\n", "invalid IP"},
		"nonsense":   {"x y z\n" + zero + " 00 " + zero + " 00 zz\n", "invalid IP"},
	} {
		if got := defaultOf(tt[0]).String(); got != tt[1] {
			t.Errorf("%s: %s; want %s", name, got, tt[1])
		}
	}
}
