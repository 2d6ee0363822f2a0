package rescue

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
)

func TestFromStatus(t *testing.T) {
	n := status.Node{
		Name: "a", ID: 1, Site: "principal", Votes: status.Votes{Leader: 2, Vouched: true}, Address: true,
		Members: []status.Member{{ID: 1, Name: "a", Kind: "node", Up: true}, {ID: 2, Name: "b", Kind: "node", Up: true}, {ID: 3, Name: "w", Kind: "witness"}},
		Links:   []status.Link{{Peer: 2, Path: "fibre1", Kind: "vote", Up: true}, {Peer: 2, Path: "fibre1", Kind: "data", Up: false}, {Peer: 2, Path: "fibre2", Kind: "data", Up: true, Data: true}},
		Store: &status.Store{Age: 20, Capacity: 10, Free: 4, Linked: true, Groups: []status.LocalGroup{
			{ID: 7, Resync: &status.Resync{Running: true, CopiedBytes: 37, DirtyBytes: 63, LeftMS: -1}}}},
		Groups:  []status.Group{{ID: 7, Name: "citizen", Primary: 1, InSync: []ident.Node{1}, Citizen: true}},
		AllVMs:  []status.PlacedVM{{ID: 5, Name: "compta", Node: 1, Run: true}},
		VMs:     []status.VM{{ID: 5, State: "running"}},
		Citizen: &status.Citizen{Age: 100, Proxy: true, Copies: 2},
		Problem: []status.Problem{{Code: "resync", Object: "citizen"}},
		Events:  []status.Event{{Time: night, Kind: "place-vm", VM: "compta", New: "a"}, {Time: night, Kind: "grow", Group: "citizen", New: "secret detail", Cause: "c"}},
	}
	want := Pair{
		Known: true, Self: "a", Site: "principal", Leader: "b", Vouched: true,
		Members: []Member{{Name: "a", Self: true, Up: true}, {Name: "b", Up: true}, {Name: "w", Witness: true}},
		Links:   []Link{{Path: "fibre1", Peer: "b"}, {Path: "fibre2", Peer: "b", Up: true, Data: true}},
		Store:   &Store{Age: 20 * time.Millisecond, Capacity: 10, Free: 4, Linked: true},
		Groups:  []Group{{Name: "citizen", Citizen: true, Primary: "a", InSync: []string{"a"}, Resync: &Resync{Percent: 37, Left: -time.Millisecond}}},
		VMs:     []VM{{Name: "compta", Node: "a", State: "running", Run: true}},
		Citizen: Citizen{Known: true, By: "b", Here: true},
		Alarms:  []Alarm{{Code: "resync", Object: "citizen"}},
		Events:  []Event{{At: night, Kind: "place-vm", Object: "compta", New: "a"}, {At: night, Kind: "grow", Object: "citizen", Text: "c"}},
	}
	if d := cmp.Diff(want, fromStatus(&n)); d != "" {
		t.Error(d)
	}
}

// What is wrong is told in the order in which it matters.
func TestTheSentenceIsTheMostUsefulOne(t *testing.T) {
	for name, want := range map[string]string{
		"healthy": "what.fine", "no-node": "what.node-silent", "node-died": "what.node-silent", "no-twin": "what.twin-silent", "solo": "what.solo",
		"resync": "what.resync", "blackout": "what.behind", "alone": "what.alone", "store-failed": "what.store-failed",
		"boot-failed": "what.boot", "nothing": "what.unknown",
	} {
		s := healthy()
		states[name](&s)
		if got := why(&s); got.what != want {
			t.Errorf("%s: %s, want %s", name, got.what, want)
		}
	}
}

// Whoever takes over is said before a node goes away.
func TestRelief(t *testing.T) {
	for name, want := range map[string]string{
		"healthy": "relief.twin", "no-node": "relief.unknown", "no-twin": "relief.none", "solo": "relief.behind", "unpaired": "relief.unpaired",
	} {
		s := healthy()
		states[name](&s)
		if got, _ := relief(&s); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
