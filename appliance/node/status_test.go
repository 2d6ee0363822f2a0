package node

import (
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/raftnode"
	"beffroi.dev/pkg/quorum/timekeeper"
	"beffroi.dev/pkg/transport"
)

func picture(t *testing.T) *whole {
	return &whole{
		cfg: &config.Node{Self: nodeA, Profile: "lab", Members: []config.Member{
			{ID: nodeA, Name: "a", Kind: cluster.KindNode, Site: "main"}, {ID: nodeB, Name: "b", Kind: cluster.KindNode}, {ID: witness, Name: "w", Kind: cluster.KindWitness},
		}},
		now: ms(10000), wall: time.Unix(1, 0), state: townState(t), vote: raftnode.Status{Vouched: 20 * time.Millisecond}, vouched: true,
		paths: []transport.PathStatus{{Peer: nodeB, Path: "fibre1", Up: true}, {Peer: nodeB, Path: "lan", Up: true}, {Peer: witness, Path: "lan", Up: true}},
		reports: seen{
			block: block(9900, status.LocalGroup{ID: 1}),
			vm:    vms(status.VM{ID: 1, Name: "mairie", State: "running", PID: 7}), citizen: reported[status.Citizen]{part: status.Citizen{Serving: true}, at: ms(9000), ever: true},
		},
		order: control.Order{Address: true},
	}
}

func TestTheStatusIsWhole(t *testing.T) {
	n := compose(picture(t))
	if n.Name != "a" || n.Site != "main" || !n.Address || len(n.Members) != 3 || len(n.Links) != 3 || len(n.Groups) != 2 || !n.Groups[0].Citizen ||
		len(n.Groups[1].Volumes) != 1 || len(n.AllVMs) != 1 || n.AllVMs[0].Node != nodeA || len(n.VMs) != 1 || n.Votes.VouchedMS != 20 {
		t.Errorf("status %+v", n)
	}
	if n.Store.Age != 100 || n.Citizen.Age != 1000 {
		t.Errorf("ages %d and %d; want 100 and 1000", n.Store.Age, n.Citizen.Age)
	}
	last := n.Events[len(n.Events)-1]
	if last.Kind != "place-vm" || last.VM != "mairie" || last.New != "a" {
		t.Errorf("last event %+v", last)
	}
	if len(n.Problem) != 0 {
		t.Errorf("problems %+v; want none", n.Problem)
	}
}

func cable(code string) []status.Cable {
	return []status.Cable{{Role: "lan", Card: "eth0", Carrier: true}, {Role: "fibre1", Card: "eth1", Faults: []status.Flaw{{Code: code}}}}
}

func TestEachProblemHasItsCodeAndTheWorstComesFirst(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *whole)
		want   string // code:object, in order
	}{
		{"no majority", func(w *whole) { w.vouched = false }, "no-majority:"},
		{"the twin is silent", func(w *whole) { w.paths[0].Up, w.paths[1].Up = false, false }, "twin-silent:b"},
		{"the witness is silent", func(w *whole) { w.paths[2].Up = false }, "witness-silent:w"},
		{"one link is down", func(w *whole) { w.paths[0].Up = false }, "link-down:fibre1 to b (vote)"},
		{"a group is alone", func(w *whole) {
			g := w.state.Groups[1]
			g.Config.InSync = []ident.Node{nodeA}
			w.state.Groups[1] = g
		}, "solo:citizen"},
		{"a resync", func(w *whole) { w.reports.block.part.Groups[0].Resync = &status.Resync{Running: true} }, "resync:citizen"},
		{"the store failed", func(w *whole) { w.reports.block.part.Failed = "flush" }, "store-failed:a"},
		{"the store is full", func(w *whole) { w.reports.block.part.Capacity, w.reports.block.part.Free = 1000, 10 }, "store-full:a"},
		{"the block service is silent", func(w *whole) { w.reports.block.at = 0 }, "store-silent:a"},
		{"the vm service is silent", func(w *whole) { w.reports.vm.ever = false }, "vm-silent:a"},
		{"a guest waits for its disk", func(w *whole) { w.reports.vm.part[0].State = "paused-io" }, "vm-paused:mairie"},
		{"a fibre is dark", func(w *whole) { w.cables = cable("no-carrier") }, "cable-no-carrier:fibre1 (eth1)"},
		{"a fibre is dark because the twin is off", func(w *whole) {
			w.cables, w.paths[0].Up, w.paths[1].Up = cable("no-carrier"), false, false
		}, "twin-silent:b"},
		{"a fibre has no card", func(w *whole) { w.cables = cable("no-card"); w.cables[1].Card = "" }, "cable-no-card:fibre1"},
		{"a fibre is in the town's switch", func(w *whole) { w.cables = cable("on-lan") }, "cable-on-lan:fibre1 (eth1)"},
		{"our clock is wrong", func(w *whole) { w.verdict = timekeeper.Verdict{Wrong: true, By: time.Hour} }, "clock-wrong:a"},
		{"clocks differ", func(w *whole) { w.verdict = timekeeper.Verdict{Differ: true} }, "clocks-differ:"},
		{"our clock was corrected", func(w *whole) { w.init = &status.Clock{Corrected: 1} }, "clock-corrected:a"},
		{"our clock was set to a guess", func(w *whole) { w.init = &status.Clock{Guess: true} }, "clock-corrected:a"},
		{"our clock was right", func(w *whole) { w.init = &status.Clock{} }, ""},
		{"several", func(w *whole) {
			w.reports.block.part.Groups[0].Resync = &status.Resync{Running: true}
			w.paths[2].Up, w.reports.vm.part[0].State = false, "failed"
		}, "vm-failed:mairie witness-silent:w resync:citizen"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := picture(t)
			tt.change(w)
			var got []string
			for _, p := range compose(w).Problem {
				got = append(got, p.Code+":"+p.Object)
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("problems %q; want %q", got, tt.want)
			}
		})
	}
}

func TestReportsAreChecked(t *testing.T) {
	var r reports
	for _, tt := range []struct {
		name, part string
		ok         bool
	}{
		{"block", `{"groups":[{"id":1,"serving":true}]}`, true}, {"vm", `[{"id":1,"state":"running"}]`, true}, {"citizen", `{"serving":true}`, true},
		{"vm", `{}`, false}, {"block", `{"colour":"red"}`, false}, {"block", `{} {}`, false}, {"block", ``, false}, {"console", `{}`, false},
	} {
		if err := r.take(tt.name, []byte(tt.part), 5); (err == nil) != tt.ok {
			t.Errorf("take(%s, %s) = %v; want ok %v", tt.name, tt.part, err, tt.ok)
		}
	}
	s := r.seen()
	if _, ok := s.local(1, ms(1000), 500*time.Millisecond); ok || !s.block.ever || len(s.vm.part) != 1 {
		t.Errorf("seen %+v; want the good parts, and the store's word too old after a second", s)
	}
}
