package leave

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

func pair() status.Node {
	both := []ident.Node{1, 2}
	return status.Node{
		ID: 1, Votes: status.Votes{Vouched: true},
		Members: []status.Member{{ID: 1, Kind: "node", Up: true}, {ID: 2, Kind: "node", Up: true}, {ID: 3, Kind: "witness", Up: true}},
		Groups: []status.Group{
			{ID: 1, Primary: 1, InSync: both}, {ID: 2, Primary: 1, InSync: both, Citizen: true}, {ID: 3, Primary: 2, InSync: both}, {ID: 4, Primary: 1, InSync: []ident.Node{1}},
		},
		AllVMs: []status.PlacedVM{
			{ID: 1, Name: "compta", Group: 1, Run: true, Node: 1, Generation: 5}, {ID: 2, Name: "off", Group: 1, Node: 1},
			{ID: 3, Name: "twins", Group: 3, Run: true, Node: 2}, {ID: 4, Name: "alone", Group: 4, Run: true, Node: 1}, {ID: 5, Name: "paie", Group: 3, Run: true, Node: 1, Generation: 9},
		},
	}
}

func TestWhatTheTwinCanBeGiven(t *testing.T) {
	p := makePlan(pair())
	var vms []ident.VM
	for _, v := range p.vms {
		vms = append(vms, v.ID)
	}
	if p.twin != 2 || !slices.Equal(p.groups, []ident.Group{2, 1}) || !slices.Equal(vms, []ident.VM{1, 5}) {
		t.Errorf("plan %+v", p)
	}
	for name, change := range map[string]func(*status.Node){
		"the twin is away": func(n *status.Node) { n.Members[1].Up = false },
		"no majority":      func(n *status.Node) { n.Votes.Vouched = false },
		"nothing is known": func(n *status.Node) { *n = status.Node{} },
	} {
		n := pair()
		change(&n)
		if p := makePlan(n); p.twin != 0 || len(p.groups)+len(p.vms) != 0 {
			t.Errorf("%s: %+v; want nothing", name, p)
		}
	}
}

// town records what is asked of it, in order. Guests end at the given drain.
type town struct {
	silent error // what the node service answers
	ends   map[ident.VM]int
	drains int
	drain  error
	refuse error
	asked  []string
	node   status.Node
}

func (w *town) Status(context.Context) (status.Node, error) { return w.node, w.silent }

func (w *town) Propose(_ context.Context, do cluster.Action) (cluster.Result, error) {
	a := do.(*cluster.PlaceVM)
	w.asked = append(w.asked, fmt.Sprintf("place %d from %d on %d", a.VM, a.Base, a.Node))
	return cluster.Result{}, w.refuse
}

func (w *town) config() Config {
	return Config{
		Control: w, Guests: 50 * time.Millisecond, Margin: time.Millisecond, Ask: 20 * time.Millisecond, Every: time.Millisecond,
		Drain: func(context.Context, time.Duration) (alive []ident.VM, err error) {
			w.drains++
			for id, at := range w.ends {
				if w.drains < at {
					alive = append(alive, id)
				}
			}
			return alive, w.drain
		},
		Switch: func(_ context.Context, g ident.Group, to ident.Node) error {
			w.asked = append(w.asked, fmt.Sprintf("switch %d to %d", g, to))
			return w.refuse
		},
	}
}

func TestGuestsEndBeforeTheyStartElsewhereAndGroupsFollow(t *testing.T) {
	w := &town{node: pair(), ends: map[ident.VM]int{1: 6, 4: 3, 5: 2}}
	var said []string
	if err := Run(t.Context(), w.config(), func(p Progress) { said = append(said, fmt.Sprint(p)) }, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	want := []string{"place 5 from 9 on 2", "place 1 from 5 on 2", "switch 2 to 2", "switch 1 to 2"}
	if !slices.Equal(w.asked, want) {
		t.Errorf("asked %q; want %q", w.asked, want)
	}
	if got := strings.Join(said, "; "); got != "{0 0 2}; {3 0 2}; {2 0 2}; {1 0 2}; {0 1 2}; {0 2 2}" {
		t.Errorf("said %s", got)
	}
}

func TestItReturnsWhateverHangsOrRefuses(t *testing.T) {
	down := errors.New("refused")
	for _, tc := range []struct {
		name string
		w    town
		want string // in the error; empty: none
	}{
		{"the node service is silent, guests are shut down", town{silent: down, ends: map[ident.VM]int{1: 3}}, "refused"},
		{"the vm service is silent", town{node: pair(), drain: down}, "shut guests down: refused"},
		{"a guest never ends", town{node: pair(), ends: map[ident.VM]int{1: 1 << 30}}, "1 guests have not ended"},
		{"everything is refused", town{node: pair(), refuse: down}, "hand group 2 over: refused"},
		{"nobody is there to take over", town{node: status.Node{}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := Run(t.Context(), tc.w.config(), func(Progress) {}, slog.New(slog.DiscardHandler))
			switch {
			case tc.want == "" && err != nil, tc.want != "" && err == nil:
				t.Errorf("Run = %v; want %q", err, tc.want)
			case tc.want != "" && !strings.Contains(err.Error(), tc.want):
				t.Errorf("Run = %v; want %q", err, tc.want)
			}
			if tc.w.drains == 0 {
				t.Error("the guests were not told")
			}
		})
	}
}
