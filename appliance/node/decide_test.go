package node

import (
	"testing"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
)

const (
	nodeA   = ident.Node(1)
	nodeB   = ident.Node(2)
	witness = ident.Node(3)
)

// townState has the citizen's group 1 and group 2 with VM 1, both led by a.
func townState(t *testing.T) *cluster.State {
	t.Helper()
	s := cluster.New(ident.UUID{1}, map[ident.Node]cluster.Node{
		nodeA: {Name: "a", Kind: cluster.KindNode, Replica: ident.UUID{1}}, nodeB: {Name: "b", Kind: cluster.KindNode, Replica: ident.UUID{2}}, witness: {Name: "w", Kind: cluster.KindWitness},
	})
	disk := []cluster.NewVolume{{Name: "disk", SizeBytes: 1 << 20}}
	both := []ident.Node{nodeA, nodeB}
	for _, do := range []cluster.Action{
		&cluster.CreateGroup{Name: "citizen", Preferred: nodeA, Durability: cluster.Strict, Volumes: disk, InSync: both},
		&cluster.SetService{Group: 1},
		&cluster.CreateGroup{Name: "mairie", Preferred: nodeA, Durability: cluster.Strict, Volumes: disk, InSync: both},
		&cluster.CreateVM{Name: "mairie", Group: 2, CPUs: 1, MemoryMB: 64, Firmware: "bios", Run: true},
		&cluster.PlaceVM{VM: 1, Node: nodeA},
	} {
		if _, err := cluster.Apply(s, cluster.Command{Do: do}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func block(at int, groups ...status.LocalGroup) reported[status.Store] {
	return reported[status.Store]{part: status.Store{Groups: groups}, at: ms(at), ever: true}
}

func vms(all ...status.VM) reported[[]status.VM] {
	return reported[[]status.VM]{part: all, at: ms(10000), ever: true}
}

// The time is 10,000 ms, a majority vouched at 9,950, the block service reported
// at 9,900 that node a leads the citizen's group; each row changes something.
func TestWhatANodeIsOrderedToDo(t *testing.T) {
	leads := status.LocalGroup{ID: 1, Epoch: 1, Primary: nodeA, InSync: []ident.Node{nodeA, nodeB}, Serving: true, Readable: true, Since: 1}
	deciding := func(s *sight, change func(*status.LocalGroup)) {
		g := leads
		g.Serving, g.Readable = false, false
		change(&g)
		s.holds, s.reports.block = true, block(9900, g)
	}
	voted := func(s *sight, epoch ident.Epoch) {
		g := s.state.Groups[1]
		g.Config.Epoch = epoch
		s.state.Groups[1] = g
	}
	alone := func(s *sight) {
		g := s.state.Groups[1]
		g.Config.InSync = []ident.Node{nodeA}
		s.state.Groups[1] = g
	}
	for _, tt := range []struct {
		name    string
		change  func(s *sight)
		vouched bool
		address bool
		run     int
		claims  int
	}{
		{"all is well", func(*sight) {}, true, true, 1, 0},
		{"the twin leads", func(s *sight) { g := s.state.Groups[1]; g.Config.Primary = nodeB; s.state.Groups[1] = g }, true, false, 1, 0},
		{"the block service does not serve", func(s *sight) { g := leads; g.Serving = false; s.reports.block = block(9900, g) }, true, false, 1, 0},
		{"the block service may not read", func(s *sight) { g := leads; g.Readable = false; s.reports.block = block(9900, g) }, true, false, 1, 0},
		{"it holds the address, and the mirror waits for its next epoch", func(s *sight) { deciding(s, func(*status.LocalGroup) {}); voted(s, 2) }, true, true, 1, 0},
		{"and the twin leads now", func(s *sight) {
			deciding(s, func(*status.LocalGroup) {})
			g := s.state.Groups[1]
			g.Config.Primary = nodeB
			s.state.Groups[1] = g
		}, true, false, 1, 0},
		{"and somebody may have led between", func(s *sight) { deciding(s, func(*status.LocalGroup) {}); voted(s, 3) }, true, false, 1, 0},
		{"and the block service has started anew", func(s *sight) { deciding(s, func(g *status.LocalGroup) { g.Since = 0 }) }, true, false, 1, 0},
		{"and the store has failed", func(s *sight) { deciding(s, func(*status.LocalGroup) {}); s.reports.block.part.Failed = "flush failed" }, true, false, 1, 0},
		{"and nobody vouches", func(s *sight) { deciding(s, func(*status.LocalGroup) {}); s.vouched = ms(9600) }, true, false, 1, 0},
		{"the block service is a moment behind the vote", func(s *sight) { g := s.state.Groups[1]; g.Config.Epoch = 2; s.state.Groups[1] = g }, true, true, 1, 0},
		{"the block service's word is old", func(s *sight) { s.reports.block = block(9500, leads) }, true, false, 1, 0},
		{"the block service never spoke", func(s *sight) { s.reports.block = reported[status.Store]{} }, true, false, 1, 0},
		{"the store has failed", func(s *sight) { s.reports.block.part.Failed = "flush failed" }, true, false, 1, 0},
		{"one renewal before the drop", func(s *sight) { s.vouched = ms(9600) }, true, false, 1, 0},
		{"at the drop", func(s *sight) { s.vouched = ms(9500) }, false, false, 1, 0},
		{"nobody ever vouched", func(s *sight) { s.ever = false }, false, false, 1, 0},
		{"nobody vouches, and it is alone (R7)", func(s *sight) { s.vouched = ms(0); alone(s) }, false, true, 1, 0},
		{"the generation is another's", func(s *sight) { s.held = nil; s.reports.vm = vms() }, true, true, 0, 1},
		{"it runs without leave", func(s *sight) { s.held = nil }, true, true, 0, 0},
		{"no claim while nobody would decide it", func(s *sight) { s.held = nil; s.reports.vm = vms(); s.vouched = ms(0) }, false, false, 0, 0},
		{"no claim before the vm service spoke", func(s *sight) { s.held = nil; s.reports.vm = reported[[]status.VM]{} }, true, true, 0, 0},
		{"it ended: still ordered, the vm service knows", func(s *sight) { s.reports.vm = vms() }, true, true, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &sight{
				timing: lease.Lab(), now: ms(10000), state: townState(t), self: nodeA, vouched: ms(9950), ever: true,
				silence: map[ident.Node]time.Duration{}, quiet: map[ident.Node]time.Duration{},
				reports: seen{block: block(9900, leads), vm: vms(status.VM{ID: 1, Name: "mairie", PID: 7, Generation: 1})},
				held:    map[ident.VM]uint64{1: 1},
			}
			tt.change(s)
			o, claims := decide(s)
			if o.Vouched != tt.vouched || o.Address != tt.address || len(o.Run) != tt.run || len(claims) != tt.claims {
				t.Errorf("order %+v, claims %+v; want vouched %v, address %v, %d to run, %d claims", o, claims, tt.vouched, tt.address, tt.run, tt.claims)
			}
		})
	}
}

func TestWhatIsExposed(t *testing.T) {
	s := townState(t)
	running := seen{vm: vms(status.VM{ID: 1, PID: 7}, status.VM{ID: 2, PID: 8})}
	if got := exposed(s, nodeA, running); len(got) != 2 {
		t.Errorf("exposed on a: %v; want the VM placed there and the one that was deleted", got)
	}
	if got := exposed(s, nodeB, running); len(got) != 2 {
		t.Errorf("exposed on b: %v; want what runs there, wherever it is placed", got)
	}
	g := s.Groups[2]
	g.Config.InSync = []ident.Node{nodeA}
	s.Groups[2] = g
	if got := exposed(s, nodeA, seen{}); len(got) != 0 {
		t.Errorf("exposed on a alone: %v; want none", got)
	}
}
