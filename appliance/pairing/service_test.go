package pairing

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// voted is a vote of one, which applies what the real rules allow, and dies where it
// is told to.
type voted struct {
	state *cluster.State
	calls int
	die   int
}

var errDied = errors.New("the node service died")

func (v *voted) Watch(context.Context, uint64) (*cluster.State, error) { return v.state, nil }

func (v *voted) Propose(_ context.Context, do cluster.Action) (cluster.Result, error) {
	var r cluster.Result
	if v.calls++; v.calls == v.die {
		return r, errDied
	}
	switch a := do.(type) {
	case *cluster.CreateGroup:
		for _, g := range v.state.Groups {
			if g.Name == a.Name {
				return r, cluster.ErrRefused
			}
		}
		r.Group = ident.Group(len(v.state.Groups) + 1)
		v.state.Groups[r.Group] = cluster.Group{ID: r.Group, Name: a.Name}
	case *cluster.SetService:
		v.state.Service.Group = a.Group
	}
	return r, nil
}

func TestTheServiceGetsItsGroupOnceWhateverDiesBetween(t *testing.T) {
	for die := range 4 {
		v := &voted{state: cluster.New(ident.UUID{1}, nil), die: die}
		err := makeService(t.Context(), v, 1, minService)
		if (err != nil) != (die == 1 || die == 2) {
			t.Errorf("died at %d: %v", die, err)
		}
		for range 2 { // the next lives
			if err := makeService(t.Context(), v, 1, minService); err != nil {
				t.Errorf("died at %d, next life: %v", die, err)
			}
		}
		if len(v.state.Groups) != 1 || v.state.Service.Group != 1 {
			t.Errorf("died at %d: groups %v, service %v", die, v.state.Groups, v.state.Service)
		}
	}
}

func TestOnlyTheFounderMakesTheGroup(t *testing.T) {
	e, err := New(Config{Dir: config.Dir(t.TempDir()), Kind: cluster.KindWitness}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	v := &voted{state: cluster.New(ident.UUID{1}, nil)}
	if err := e.MakeService(t.Context(), v, 1, minService); err != nil || v.calls != 0 {
		t.Errorf("a member that did not found: %v, %d proposals", err, v.calls)
	}
	if Unfinished(e.cfg.Dir) {
		t.Error("it has something left to do")
	}
	if err := e.folder.write(serviceFile, true); err != nil {
		t.Fatal(err)
	}
	if !Unfinished(e.cfg.Dir) {
		t.Error("the group that must be made is forgotten")
	}
	if err := e.MakeService(t.Context(), v, 1, minService); err != nil || v.calls != 2 {
		t.Errorf("the founder: %v, %d proposals", err, v.calls)
	}
	if _, err := os.Stat(e.folder.path(serviceFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it would do it again: %v", err)
	}
}

func TestTheServiceVolumeFitsItsStore(t *testing.T) {
	for _, tt := range []struct{ store, want int64 }{{512 << 20, 256 << 20}, {80 << 30, 10 << 30}, {4 << 40, 64 << 30}, {80<<30 + 12345, 10 << 30}} {
		if got := ServiceBytes(tt.store); got != tt.want {
			t.Errorf("store %d: %d; want %d", tt.store, got, tt.want)
		}
	}
}
