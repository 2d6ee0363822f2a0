package probe

import (
	"net"
	"testing"
	"time"
)

var (
	ourPair = [16]byte{1}
	other   = [16]byte{2}
)

func mac(n byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, n} }

func TestWhatIsHeardAndWhatItMeans(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tc := range []struct {
		name    string
		port    Role
		pair    [16]byte
		node    uint64
		says    Role
		from    net.HardwareAddr // own cards are 0 (none), 1 (lan), 2 (fibre1), 3 (fibre2)
		fault   Kind
		crossed string
	}{
		{"fibre1 to fibre1", Fibre1, ourPair, 2, Fibre1, mac(9), "", ""},
		{"lan to lan", Lan, ourPair, 2, Lan, mac(9), "", ""},
		{"another pair on the lan", Lan, other, 7, Lan, mac(9), "", ""},
		{"a spare card on the lan", None, ourPair, 2, Lan, mac(9), "", ""},
		{"crossed fibres", Fibre1, ourPair, 2, Fibre2, mac(9), Crossed, "fibre2"},
		{"our fibre in the lan's switch", Fibre1, ourPair, 2, Lan, mac(9), OnLan, "lan"},
		{"the twin's fibre in the lan's switch", Lan, ourPair, 2, Fibre2, mac(9), OnLan, "fibre2"},
		{"our fibre and our lan in one switch", Fibre2, ourPair, 1, Lan, mac(1), OnLan, "lan"},
		{"the same, heard on the lan", Lan, ourPair, 1, Fibre2, mac(3), OnLan, "fibre2"},
		{"our two fibres joined", Fibre1, ourPair, 1, Fibre2, mac(3), Loop, "fibre2"},
		{"a fibre in a card without a role", None, ourPair, 2, Fibre1, mac(9), WrongPort, "fibre1"},
		{"the twin's end in a card without a role", Fibre1, ourPair, 2, None, mac(9), FarPort, ""},
		{"a fibre to another pair", Fibre1, other, 7, Fibre1, mac(9), Foreign, ""},
		{"two nodes with one identity", Lan, ourPair, 1, Lan, mac(9), Identity, ""},
	} {
		c := core{pair: ourPair, node: 1, interval: time.Second}
		for i, r := range []Role{None, Lan, Fibre1, Fibre2} {
			c.ports = append(c.ports, &port{Port: Port{Card: "eth" + string(rune('0'+i)), MAC: mac(byte(i)), Role: r}})
		}
		p := c.ports[tc.port]
		c.receive(now, p, frame{kind: hello, role: tc.says, pair: tc.pair, node: tc.node}, tc.from)
		r := c.judge(p, true)
		got := Kind("")
		if len(r.Faults) > 0 {
			got = r.Faults[0].Kind
		}
		if got != tc.fault || len(r.Faults) > 1 || r.CrossedWith != tc.crossed {
			t.Errorf("%s: faults %v, crossed with %q; want %q, %q", tc.name, r.Faults, r.CrossedWith, tc.fault, tc.crossed)
		}
	}
}

func TestASilentFibreAndADarkOne(t *testing.T) {
	c := core{pair: ourPair, node: 1, interval: time.Second}
	p := &port{Port: Port{Card: "eth1", MAC: mac(2), Role: Fibre1}}
	for carrier, want := range map[bool]Kind{true: NoPeer, false: NoCarrier} {
		if r := c.judge(p, carrier); len(r.Faults) != 1 || r.Faults[0].Kind != want {
			t.Errorf("carrier %v: %v; want %s", carrier, r.Faults, want)
		}
	}
}

func TestAPeerIsForgottenAndTheirNumberIsBounded(t *testing.T) {
	c := core{pair: ourPair, node: 1, interval: time.Second}
	p := &port{Port: Port{Card: "eth1", MAC: mac(2), Role: Lan}}
	now := time.Unix(1000, 0)
	for i := range 100 {
		c.receive(now, p, frame{kind: hello, pair: other, node: uint64(i)}, net.HardwareAddr{2, 0, 0, 0, 1, byte(i)})
	}
	if len(p.peers) != maxPeers {
		t.Errorf("%d peers; want %d", len(p.peers), maxPeers)
	}
	c.tick(now.Add(3*time.Second), p)
	if len(p.peers) != maxPeers {
		t.Error("forgotten too early")
	}
	if c.tick(now.Add(3100*time.Millisecond), p); len(p.peers) != 0 {
		t.Errorf("%d peers after three intervals of silence", len(p.peers))
	}
}

func TestSizeIsEchoedOnlyToTheTwinOnAFibre(t *testing.T) {
	c := core{pair: ourPair, node: 1, interval: time.Second}
	for _, tc := range []struct {
		port Role
		pair [16]byte
		node uint64
		want bool
	}{{Fibre1, ourPair, 2, true}, {Lan, ourPair, 2, false}, {None, ourPair, 2, false}, {Fibre1, other, 2, false}, {Fibre1, ourPair, 1, false}} {
		p := &port{Port: Port{MAC: mac(2), Role: tc.port}}
		if b := c.receive(time.Time{}, p, frame{kind: size, pair: tc.pair, node: tc.node, size: 9000}, mac(9)); (b != nil) != tc.want || b != nil && len(b) != 9014 {
			t.Errorf("%+v: answer of %d bytes", tc, len(b))
		}
	}
}
