package boot

import (
	"net"
	"reflect"
	"testing"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/netcfg/probe"
)

func TestEveryCardIsProbedInItsRole(t *testing.T) {
	mac := func(n byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, n} }
	cards := []netcfg.Card{{Name: "eth0", MAC: mac(0)}, {Name: "eth1", MAC: mac(1)}, {Name: "eth2", MAC: mac(2)}}
	roles := netcfg.Roles{"lan": cards[0], "fibre2": cards[2]}
	cfg := netcfg.Config{Fibres: []netcfg.Fibre{{Name: "fibre1", MTU: 1500}, {Name: "fibre2", MTU: 9000}}}
	want := []probe.Port{
		{Card: "eth0", MAC: mac(0), Role: probe.Lan}, {Card: "eth1", MAC: mac(1)}, {Card: "eth2", MAC: mac(2), Role: probe.Fibre2, MTU: 9000},
	}
	if got := ports(cards, roles, cfg); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v; want %+v", got, want)
	}
}

func TestACardWithoutARoleIsToldOnlyWhenItMeansSomething(t *testing.T) {
	got := cables([]probe.Report{
		{Role: "fibre2", Card: "eth5", Carrier: true, Peer: 2},
		{Role: "fibre1", Card: "eth1", Carrier: true, Peer: 2, MTU: 9000, MTUVerified: true, Speed: 10000},
		{Role: probe.None.String(), Card: "eth3"},
		{Role: probe.None.String(), Card: "eth4", Carrier: true, Faults: []probe.Fault{{Kind: probe.WrongPort, Text: "fibre2 is plugged into eth4"}}},
	}, map[string]string{"fibre1": "eth1", "fibre2": "eth2"})
	want := []status.Cable{
		{Role: "fibre2", Card: "eth5", From: "eth2", Carrier: true, Twin: true},
		{Role: "fibre1", Card: "eth1", Carrier: true, Twin: true, MTU: 9000, Passed: true, Speed: 10000},
		{Card: "eth4", Carrier: true, Faults: []status.Flaw{{Code: "wrong-port", Text: "fibre2 is plugged into eth4"}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v; want %+v", got, want)
	}
}
