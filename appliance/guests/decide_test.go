package guests_test

import (
	"testing"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/guests"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

const self, twin = ident.Node(1), ident.Node(2)

// voted is a state with one VM, number 7.
func voted(v cluster.VM) *cluster.State {
	s := cluster.New(ident.NewUUID(), nil)
	s.Next.VM = 8
	if v.Generation > 0 {
		v.ID, v.Name, v.Group = 7, "etat-civil", 3
		s.VMs[7] = v
	}
	return s
}

func TestWhatBecomesOfAMachine(t *testing.T) {
	here := func(n uint64) cluster.VM { return cluster.VM{Run: true, Node: self, Generation: n} }
	order := func(n uint64) *control.Order { return &control.Order{Run: []control.VMOrder{{VM: 7, Generation: n}}} }
	none := &control.Order{}
	live := func(n uint64) guests.Here { return guests.Here{VM: 7, Alive: true, Generation: n} }
	ended := func(n uint64) guests.Here { return guests.Here{VM: 7, Generation: n} }
	tests := []struct {
		name  string
		state *cluster.State
		order *control.Order
		here  guests.Here
		want  guests.Action
	}{
		{"ordered, and it runs", voted(here(4)), order(4), live(4), guests.Keep},
		{"ordered, never started here", voted(here(4)), order(4), guests.Here{}, guests.Start},
		{"ordered anew after it ended", voted(here(4)), order(4), ended(3), guests.Start},
		{"ended under the ordered generation", voted(here(4)), order(4), ended(4), guests.Place},
		{"alive under an older generation", voted(here(5)), order(5), live(4), guests.Kill},
		{"alive, placed on the twin since", voted(cluster.VM{Run: true, Node: twin, Generation: 5}), none, live(4), guests.Kill},
		{"alive, placed nowhere since", voted(cluster.VM{Generation: 5}), none, live(4), guests.Kill},
		{"alive with an unreadable record", voted(here(4)), order(4), guests.Here{Alive: true}, guests.Kill},
		{"not wanted running any more", voted(cluster.VM{Node: self, Generation: 4}), none, live(4), guests.ShutDown},
		{"wanted here but not ordered", voted(here(4)), none, live(4), guests.Withdraw},
		{"wanted here, not ordered, not there", voted(here(4)), none, ended(3), guests.Leave},
		{"the order is older than the state", voted(here(5)), order(4), ended(3), guests.Leave},
		{"the order is newer than the state", voted(here(4)), order(5), live(4), guests.Leave},
		{"this machine is newer than the state", voted(here(4)), order(4), live(5), guests.Leave},
		{"deleted and alive", voted(cluster.VM{}), none, live(4), guests.Kill},
		{"deleted", voted(cluster.VM{}), none, ended(4), guests.Forget},
		{"another VM has its name now, it is alive", voted(here(1)), order(1), guests.Here{VM: 2, Alive: true, Generation: 9}, guests.Kill},
		{"another VM has its name now", voted(here(1)), order(1), guests.Here{VM: 2, Generation: 9}, guests.Forget},
		{"created after the state at hand", voted(cluster.VM{}), none, guests.Here{VM: 8, Alive: true, Generation: 1}, guests.Leave},
		{"nothing is known of the state", nil, none, live(4), guests.Leave},
		{"nothing is known of the order", voted(cluster.VM{}), nil, live(4), guests.Leave},
		{"it runs on the twin", voted(cluster.VM{Run: true, Node: twin, Generation: 5}), none, ended(4), guests.Leave},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := guests.Decide(self, tt.state, tt.order, "etat-civil", tt.here); got != tt.want {
				t.Errorf("it would %s; want %s", got, tt.want)
			}
		})
	}
}

func TestWhatBecomesOfAMachineWhileTheNodeGoesDown(t *testing.T) {
	for _, tc := range []struct {
		action          guests.Action
		inTime, overdue guests.Action
	}{
		{guests.Keep, guests.ShutDown, guests.Kill},
		{guests.ShutDown, guests.ShutDown, guests.Kill},
		{guests.Start, guests.Leave, guests.Leave},
		{guests.Place, guests.Leave, guests.Leave},
		{guests.Leave, guests.Leave, guests.Leave},
		{guests.Withdraw, guests.Withdraw, guests.Withdraw},
		{guests.Kill, guests.Kill, guests.Kill},
		{guests.Forget, guests.Forget, guests.Forget},
	} {
		if got := guests.Drained(tc.action, false); got != tc.inTime {
			t.Errorf("%s in time: %s; want %s", tc.action, got, tc.inTime)
		}
		if got := guests.Drained(tc.action, true); got != tc.overdue {
			t.Errorf("%s overdue: %s; want %s", tc.action, got, tc.overdue)
		}
	}
}
