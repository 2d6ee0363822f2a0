package main_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/transport"
	"beffroi.dev/pkg/transport/transporttest"
)

// withStores gives both nodes a store, a data path and a citizen service.
func (w *town) withStores() {
	paths := [][]transport.Path{{{Name: "fibre1", Addr: transporttest.Addr()}}, {{Name: "fibre1", Addr: transporttest.Addr()}}}
	own := []string{transporttest.Addr(), transporttest.Addr()}
	service := transporttest.Addr()
	for i, n := range names[:2] {
		d := w.dirs[n]
		c, err := config.Load(d)
		if err != nil {
			w.t.Fatal(err)
		}
		c.Members[0].DataPaths, c.Members[1].DataPaths, c.DataListen = paths[0], paths[1], paths[i]
		c.Members[0].Citizen, c.Members[1].Citizen = own[0], own[1]
		c.Citizen = config.Citizen{Listen: own[i], Service: service, Town: "Test"}
		c.Store.Path = filepath.Join(string(d), "store")
		if err := errors.Join(os.WriteFile(c.Store.Path, nil, 0o600), os.Truncate(c.Store.Path, 256<<20), config.Save(d, c)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// Here init and all services of both nodes and the witness are real.
func TestTheAddressMovesWithItsNodeAndStaysThroughARestart(t *testing.T) {
	w := newTown(t)
	w.withStores()
	for _, n := range names {
		w.run(n, "init")
	}
	w.await("a majority", func() bool { return w.status("a").Votes.Vouched && w.status("b").Votes.Vouched })
	g := w.propose("a", &cluster.CreateGroup{Name: "citizen", Preferred: 1, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "disk", SizeBytes: 16 << 20}}})
	w.propose("a", &cluster.SetService{Group: g.Group})
	w.await("a to hold the address, with the twin in sync", func() bool { n := w.status("a"); return n.Address && n.Store.Linked })
	w.await("the citizens to be served", func() bool { n := w.status("a"); return n.Citizen != nil && n.Citizen.Serving })
	citizen := servicePID(t, w.dirs["a"], "citizen")

	for range 3 { // the new life's first word must not be to let go
		old := servicePID(t, w.dirs["a"], "node")
		before, err := w.ctl("a").Order(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_ = syscall.Kill(old, syscall.SIGKILL)
		w.await("an order of the next life", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			o, err := w.ctl("a").Order(ctx, before.Serial)
			if err == nil && !o.Address {
				t.Errorf("the restarted node service lets the address go: %+v", o)
			}
			return err == nil
		})
		t.Logf("profile lab: the node service killed to the next order: %v", time.Since(began).Round(time.Millisecond))
	}
	if now := servicePID(t, w.dirs["a"], "citizen"); now != citizen {
		t.Errorf("the citizen service %d became %d; want it untouched by restarts of the node service", citizen, now)
	}
	for i := range 4 {
		victim, heir := names[i%2], names[1-i%2]
		began := time.Now()
		w.kill(victim)
		w.await("the heir to hold the address", func() bool { return w.status(heir).Address })
		took := time.Since(began).Round(time.Millisecond)
		w.run(victim, "init")
		w.await("both in sync again", func() bool {
			n := w.status(heir)
			return len(n.Groups) == 1 && len(n.Groups[0].InSync) == 2 && n.Address && !w.status(victim).Address
		})
		t.Logf("profile lab: all of %s killed to %s holding the address: %v; in sync again after %v", victim, heir, took, time.Since(began).Round(time.Millisecond))
	}
}
