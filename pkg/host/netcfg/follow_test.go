package netcfg_test

import (
	"strings"
	"testing"

	"beffroi.dev/pkg/host/netcfg"
)

func TestAFibreGetsTheCardInWhichItWasFound(t *testing.T) {
	cards := []netcfg.Card{{Name: "enp1s0", PCI: "0000:01:00.0"}, {Name: "enp2s0", PCI: "0000:02:00.0"}, {Name: "enp3s0", PCI: "0000:03:00.0"}, {Name: "enp4s0", PCI: "0000:04:00.0"}}
	for _, tc := range []struct {
		name  string
		ports string // of lan, fibre1, fibre2
		found map[string]string
		want  string
	}{
		{"in a spare card", "#0 #1 #2", map[string]string{"fibre1": "enp4s0"}, "#0 #3 #2"},
		{"both change places", "#0 #1 #2", map[string]string{"fibre1": "enp3s0", "fibre2": "enp2s0"}, "#0 #2 #1"},
		{"one is in the other's card", "#0 #1 #2", map[string]string{"fibre1": "enp3s0"}, "#0 #2 #1"},
		{"one moves in, the other moves on", "#0 #1 #2", map[string]string{"fibre1": "enp3s0", "fibre2": "enp4s0"}, "#0 #2 #3"},
		{"one had no card", "#0 #1 -", map[string]string{"fibre2": "enp4s0"}, "#0 #1 #3"},
		{"by name before", "enp1s0 enp2s0 enp3s0", map[string]string{"fibre2": "enp4s0"}, "enp1s0 enp2s0 #3"},
		{"a configured card is gone", "#0 #9 #2", map[string]string{"fibre1": "enp4s0"}, "#0 #3 #2"},
		{"never the lan's card", "#0 #1 #2", map[string]string{"fibre1": "enp1s0"}, "#0 #1 #2"},
		{"a card that is not there", "#0 #1 #2", map[string]string{"fibre1": "enp9s0"}, "#0 #1 #2"},
		{"a fibre that this node has not", "#0 #1", map[string]string{"fibre2": "enp4s0"}, "#0 #1"},
	} {
		ports := strings.Fields(strings.ReplaceAll(tc.ports, "-", "\x00"))
		c := netcfg.Config{Lan: netcfg.Lan{Port: netcfg.Port(ports[0])}}
		for i, p := range ports[1:] {
			c.Fibres = append(c.Fibres, netcfg.Fibre{Name: []string{"fibre1", "fibre2"}[i], Port: netcfg.Port(strings.Trim(p, "\x00"))})
		}
		before := c.Fibres[0]
		got := c.Follow(cards, tc.found)
		list := []string{string(got.Lan.Port)}
		for _, f := range got.Fibres {
			list = append(list, string(f.Port))
		}
		if s := strings.Join(list, " "); s != tc.want {
			t.Errorf("%s: %s; want %s", tc.name, s, tc.want)
		}
		if c.Fibres[0] != before {
			t.Errorf("%s: the configuration that was given has changed", tc.name)
		}
	}
}
