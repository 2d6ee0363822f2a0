package cluster_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// machines makes a state of a pair with n VMs of four cards each.
func machines(t *testing.T, pair ident.UUID, n int) *cluster.State {
	t.Helper()
	s := cluster.New(pair, genesis().Nodes)
	four := cluster.MaxCards
	for i := range n {
		name := fmt.Sprintf("m%d", i)
		g := mustApply(t, s, &cluster.CreateGroup{Name: name, Preferred: nodeA, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}})
		mustApply(t, s, &cluster.CreateVM{Name: name, Group: g.Group, CPUs: 1, MemoryMB: 64, Firmware: "bios", Cards: &four})
	}
	return s
}

func TestNoTwoCardsHaveOneAddress(t *testing.T) {
	seen := map[string]string{}
	for p := range 20 {
		s := machines(t, ident.UUID{0: 1, 15: byte(p)}, 200)
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		for id, v := range s.VMs {
			for i, c := range v.Cards {
				who := fmt.Sprintf("card %d of VM %d of pair %d", i, id, p)
				mac, err := net.ParseMAC(c.MAC)
				if err != nil || mac[0] != 0x52 || mac.String() != c.MAC {
					t.Fatalf("%s: %q, %v; want a locally administered address", who, c.MAC, err)
				}
				if prefix := cluster.CardPrefix(s.Pair); len(prefix) != 8 || !strings.HasPrefix(c.MAC, prefix+":") {
					t.Fatalf("%s: %s does not begin with the pair's %s", who, c.MAC, prefix)
				}
				if seen[c.MAC] != "" {
					t.Fatalf("%s and %s: both have %s", who, seen[c.MAC], c.MAC)
				}
				seen[c.MAC] = who
			}
		}
	}
}

func TestAVMKeepsTheAddressesOfItsCards(t *testing.T) {
	s := town(t)
	first := s.VMs[1].Cards
	if len(first) != cluster.DefaultCards {
		t.Fatalf("cards %v of a VM that was made without a word about them; want %d", first, cluster.DefaultCards)
	}
	for _, n := range []int{3, 0, 2} {
		mustApply(t, s, &cluster.UpdateVM{VM: 1, Cards: &n})
		mustApply(t, s, &cluster.PlaceVM{VM: 1, Base: s.VMs[1].Generation, Node: nodeB})
		if got := s.VMs[1].Cards; len(got) != n || n > 0 && got[0] != first[0] {
			t.Errorf("cards %v; want %d, and the first to be %v", got, n, first[0])
		}
	}
}

func TestASnapshotWithImpossibleCardsIsRefused(t *testing.T) {
	b, err := town(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := town(t).VMs[1].Cards[0].MAC
	for _, bad := range []string{"", "52:00", "52-00-00-00-00-00", "53" + good[2:], strings.ToUpper(good), "50" + good[2:], good + ":00"} {
		if _, err := cluster.Decode([]byte(strings.Replace(string(b), good, bad, 1))); err == nil {
			t.Errorf("card %q was accepted", bad)
		}
	}
	many := `[` + strings.Repeat(`{"mac":"`+good+`"},`, 4) + `{"mac":"` + good + `"}]`
	if _, err := cluster.Decode([]byte(strings.Replace(string(b), `[{"mac":"`+good+`"}]`, many, 1))); err == nil {
		t.Error("five cards were accepted")
	}
}
