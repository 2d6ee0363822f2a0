package lease_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
)

// town has group 1 with VM 1, and group 2 with the citizen service.
func town(t *testing.T, primary ident.Node, set ...ident.Node) *cluster.State {
	t.Helper()
	s := cluster.New(ident.UUID{1}, map[ident.Node]cluster.Node{
		nodeA: {Name: "a", Kind: cluster.KindNode, Replica: ident.UUID{1}}, nodeB: {Name: "b", Kind: cluster.KindNode, Replica: ident.UUID{2}},
		witness: {Name: "w", Kind: cluster.KindWitness},
	})
	vol := []cluster.NewVolume{{Name: "v", SizeBytes: 1 << 20}}
	for _, do := range []cluster.Action{
		&cluster.CreateGroup{Name: "mail", Preferred: primary, Durability: cluster.Strict, Volumes: vol, InSync: set},
		&cluster.CreateGroup{Name: "citizen", Preferred: primary, Durability: cluster.Strict, Volumes: vol, InSync: set},
		&cluster.SetService{Group: 2},
		&cluster.CreateVM{Name: "mail", Group: 1, CPUs: 1, MemoryMB: 64, Firmware: "bios", Run: true},
	} {
		if _, err := cluster.Apply(s, cluster.Command{Do: do}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func placed(s *cluster.State, n ident.Node) *cluster.State {
	if _, err := cluster.Apply(s, cluster.Command{Do: &cluster.PlaceVM{VM: 1, Base: s.VMs[1].Generation, Node: n}}); err != nil {
		panic(err)
	}
	return s
}

func preferring(s *cluster.State, n ident.Node) *cluster.State {
	for _, g := range []ident.Group{1, 2} {
		if _, err := cluster.Apply(s, cluster.Command{Do: &cluster.SetPreferred{Group: g, Node: n}}); err != nil {
			panic(err)
		}
	}
	return s
}

func stopped(s *cluster.State) *cluster.State {
	run := false
	if _, err := cluster.Apply(s, cluster.Command{Do: &cluster.UpdateVM{VM: 1, Run: &run}}); err != nil {
		panic(err)
	}
	return s
}

// view is a node in good health that leads epoch 1 of both groups.
func view(change ...func(*lease.View)) lease.View {
	well := lease.GroupView{Fit: true, Confirmed: 1}
	v := lease.View{Vouched: true, Silence: map[ident.Node]time.Duration{}, Quiet: map[ident.Node]time.Duration{}, Groups: map[ident.Group]lease.GroupView{1: well, 2: well}, VMs: map[ident.VM]lease.VMView{}}
	for _, c := range change {
		c(&v)
	}
	return v
}

func silent(n ident.Node, d time.Duration) func(*lease.View) {
	return func(v *lease.View) { v.Silence[n], v.Quiet[n] = d, d }
}

func groups(change func(*lease.GroupView)) func(*lease.View) {
	return func(v *lease.View) {
		for id, g := range v.Groups {
			change(&g)
			v.Groups[id] = g
		}
	}
}

func vm(running bool, claimed uint64) func(*lease.View) {
	return func(v *lease.View) { v.VMs[1] = lease.VMView{Running: running, Claimed: claimed} }
}

func show(d lease.Decision) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if len(d.Lead) > 0 {
		add("lead %v", d.Lead)
	}
	if len(d.Run) > 0 {
		add("run %v", d.Run)
	}
	if len(d.Stop) > 0 {
		add("stop %v", d.Stop)
	}
	if d.Address {
		add("address")
	}
	for _, c := range d.Changes {
		add("%s %d to %d of %d", c.Kind, c.Group, uint64(c.New.Primary), len(c.New.InSync))
	}
	for _, c := range d.Claims {
		add("claim %d from %d", c.VM, c.Base)
	}
	if parts == nil {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

func TestANodeDoesWhatTheStateAndItsViewAllow(t *testing.T) {
	both := []ident.Node{nodeA, nodeB}
	timing := lease.Lab()
	for _, tc := range []struct {
		name  string
		state *cluster.State
		view  lease.View
		want  string
	}{
		{"a primary in good health leads and serves", stopped(town(t, nodeA, both...)), view(), "lead [1 2], address"},
		{"a primary that no majority vouches for leads, and drops the address", stopped(town(t, nodeA, both...)), view(func(v *lease.View) { v.Vouched = false }), "lead [1 2]"},
		{"the only member goes on without votes (R7)", stopped(town(t, nodeA, nodeA)), view(func(v *lease.View) { v.Vouched = false }), "lead [1 2], address"},
		{"a primary that restarted asks for confirmation first (R7)", stopped(town(t, nodeA, both...)), view(groups(func(g *lease.GroupView) { g.Confirmed = 0 })), "restart 1 to 1 of 2, restart 2 to 1 of 2"},
		{"a primary whose disk failed hands over", stopped(town(t, nodeA, both...)), view(groups(func(g *lease.GroupView) { g.Fit = false })), "switch 1 to 2 of 2, switch 2 to 2 of 2"},
		{"a primary whose disk failed keeps what nobody can take", stopped(town(t, nodeA, both...)), view(groups(func(g *lease.GroupView) { g.Fit = false }), silent(nodeB, time.Second)), "nothing"},
		{"a settled primary gives back to the preferred site", preferring(stopped(town(t, nodeA, both...)), nodeB), view(groups(func(g *lease.GroupView) { g.Settled = timing.Settle })), "lead [1 2], address, switch 1 to 2 of 2, switch 2 to 2 of 2"},
		{"not before it has settled", preferring(stopped(town(t, nodeA, both...)), nodeB), view(), "lead [1 2], address"},
		{"not to a site that is silent", preferring(stopped(town(t, nodeA, both...)), nodeB), view(groups(func(g *lease.GroupView) { g.Settled = timing.Settle }), silent(nodeB, time.Second)), "lead [1 2], address"},
		{"a member waits while the primary is heard", stopped(town(t, nodeB, both...)), view(), "nothing"},
		{"a member waits for the whole grace (R6)", stopped(town(t, nodeB, both...)), view(silent(nodeB, timing.Grace-1)), "nothing"},
		{"a member is promoted and the dead peer removed in one proposal (R5)", stopped(town(t, nodeB, both...)), view(silent(nodeB, timing.Grace)), "promote 1 to 1 of 1, promote 2 to 1 of 1"},
		{"a member that a majority still hears waits for it to go solo", stopped(town(t, nodeB, both...)), view(silent(nodeB, time.Hour), func(v *lease.View) { v.Silence[nodeB] = 0 }), "nothing"},
		{"a member that itself still hears it waits", stopped(town(t, nodeB, both...)), view(silent(nodeB, time.Hour), func(v *lease.View) { v.Quiet[nodeB] = 0 }), "nothing"},
		{"a member whose disk failed is not promoted", stopped(town(t, nodeB, both...)), view(silent(nodeB, time.Hour), groups(func(g *lease.GroupView) { g.Fit = false })), "nothing"},
		{"who is not in sync is never promoted", stopped(town(t, nodeB, nodeB)), view(silent(nodeB, time.Hour)), "nothing"},

		{"a VM is claimed before its first start", town(t, nodeA, both...), view(), "lead [1 2], address, claim 1 from 0"},
		{"a VM that was claimed in this life runs", placed(town(t, nodeA, both...), nodeA), view(vm(false, 1)), "lead [1 2], run [1], address"},
		{"a VM is claimed anew after a restart or a fence", placed(town(t, nodeA, both...), nodeA), view(vm(false, 0)), "lead [1 2], address, claim 1 from 1"},
		{"a VM under an older claim is stopped first", placed(placed(town(t, nodeA, both...), nodeA), nodeA), view(vm(true, 1)), "lead [1 2], stop [1], address"},
		{"a VM that was placed elsewhere is stopped", placed(town(t, nodeA, both...), nodeB), view(vm(true, 1)), "lead [1 2], stop [1], address"},
		{"a VM elsewhere stays there while its node is heard", placed(town(t, nodeA, both...), nodeB), view(), "lead [1 2], address"},
		{"and until its fence has surely passed", placed(town(t, nodeA, both...), nodeB), view(silent(nodeB, timing.MoveAfter()-1)), "lead [1 2], address"},
		{"then it is claimed by the primary", placed(town(t, nodeA, both...), nodeB), view(silent(nodeB, timing.MoveAfter())), "lead [1 2], address, claim 1 from 1"},
		{"but not by a node that is not primary yet", placed(town(t, nodeB, both...), nodeB), view(silent(nodeB, timing.MoveAfter())), "promote 1 to 1 of 1, promote 2 to 1 of 1"},
		{"a VM that the operator stopped is stopped", stopped(placed(town(t, nodeA, both...), nodeA)), view(vm(true, 1)), "lead [1 2], stop [1], address"},
		{"a VM that nobody knows is stopped", stopped(town(t, nodeA, both...)), view(func(v *lease.View) { v.VMs[9] = lease.VMView{Running: true, Claimed: 1} }), "lead [1 2], stop [9], address"},
	} {
		d := lease.Decide(timing, tc.state, nodeA, tc.view)
		if got := show(d); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
		// Whatever a node proposes is something the rules accept.
		for _, c := range d.Changes {
			if _, err := cluster.Apply(tc.state.Clone(), cluster.Command{Do: &c}); err != nil {
				t.Errorf("%s: its own proposal is %v", tc.name, err)
			}
		}
		for _, c := range d.Claims {
			if _, err := cluster.Apply(tc.state.Clone(), cluster.Command{Do: &c}); err != nil {
				t.Errorf("%s: its own claim is %v", tc.name, err)
			}
		}
	}
}

func TestTheFenceKillsOnlyWhatHasAnotherHome(t *testing.T) {
	for _, tc := range []struct {
		name  string
		state *cluster.State
		want  []ident.VM
	}{
		{"a VM whose group another node is in sync for", placed(town(t, nodeA, nodeA, nodeB), nodeA), []ident.VM{1}},
		{"not one whose group has no other member", placed(town(t, nodeA, nodeA), nodeA), nil},
		{"one that runs here while only the other is in sync", placed(town(t, nodeB, nodeB), nodeA), []ident.VM{1}},
		{"not one that runs elsewhere", placed(town(t, nodeA, nodeA, nodeB), nodeB), nil},
	} {
		if got := lease.Exposed(tc.state, nodeA); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v; want %v", tc.name, got, tc.want)
		}
	}
	if !lease.AddressExposed(town(t, nodeA, nodeA, nodeB), nodeA) || lease.AddressExposed(town(t, nodeA, nodeA), nodeA) {
		t.Error("the address is exposed exactly when another node is in sync")
	}
}

func TestTheFencesPassInTheirOrder(t *testing.T) {
	timing := lease.Production()
	f := lease.NewFence(timing)
	if !f.Passed(0) || !f.AddressPassed(0) {
		t.Error("a fence that was never renewed allows something")
	}
	f.Renew(1000)
	f.Renew(500) // an older round that was answered later
	for _, tc := range []struct {
		after           time.Duration
		address, guests bool
	}{
		{timing.AddressDrop - 1, true, true}, {timing.AddressDrop, false, true}, {timing.Fence - 1, false, true}, {timing.Fence, false, false},
	} {
		now := clock.Instant(1000).Add(tc.after)
		if f.AddressPassed(now) == tc.address || f.Passed(now) == tc.guests {
			t.Errorf("after %v: address passed %v, passed %v", tc.after, f.AddressPassed(now), f.Passed(now))
		}
	}
}

func TestAPrimaryReadsOnlyWhileEveryOtherMemberAnswers(t *testing.T) {
	timing := lease.Production()
	r := lease.NewRounds(nodeA, []ident.Node{nodeA, nodeB, witness}, lease.NewGrants(0))
	pair, solo := cluster.Config{InSync: []ident.Node{nodeA, nodeB}}, cluster.Config{InSync: []ident.Node{nodeA}}
	n := r.Begin(1000)
	r.Answer(witness, n, nil)
	if until, limited := lease.ReadUntil(timing, pair, nodeA, r.Answered); !limited || until > 0 {
		t.Errorf("on the witness's word: until %d, %v; want never", until, limited)
	}
	r.Answer(nodeB, n, nil)
	r.Begin(2000)
	if until, limited := lease.ReadUntil(timing, pair, nodeA, r.Answered); !limited || until != clock.Instant(1000).Add(timing.Lease) {
		t.Errorf("until %d, %v; want the lease from when the answered round was sent", until, limited)
	}
	if _, limited := lease.ReadUntil(timing, solo, nodeA, r.Answered); limited {
		t.Error("the only member is limited; want no limit (R7)")
	}
}

func TestWhoSeeksPromotionStopsVouchingFirst(t *testing.T) {
	g := lease.NewGrants(0)
	second := clock.Instant(time.Second)
	g.Grant(nodeA, 10*second)
	if g.Seek(nodeA, 10*second+1, time.Second) {
		t.Error("sought promotion within the grace")
	}
	if !g.Seek(nodeA, 11*second, time.Second) || g.Grant(nodeA, 12*second) {
		t.Error("after the grace it seeks, and vouches no more")
	}
	if !g.Seek(nodeA, 12*second, time.Minute) {
		t.Error("it may seek again while it withholds")
	}
	if g.Release(nodeA); !g.Grant(nodeA, 13*second) {
		t.Error("released, it vouches again")
	}
}
