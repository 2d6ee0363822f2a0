package main_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// replacement makes the folder of a new machine that takes b's place, as a pairing
// leaves it, and the proposal that votes it in.
func (w *town) replacement(name string, id ident.Node) *cluster.ReplaceNode {
	w.t.Helper()
	old, err := config.Load(w.dirs["b"])
	if err != nil {
		w.t.Fatal(err)
	}
	public, key, _ := ed25519.GenerateKey(nil)
	do := &cluster.ReplaceNode{Old: old.Self, Node: id, PublicKey: public, Replica: ident.NewUUID()}
	d := config.Dir(filepath.Join(filepath.Dir(w.binary), name))
	w.dirs[name] = d
	n := *old
	n.Self, n.Joins, n.Store.Path = id, true, filepath.Join(string(d), "store")
	for i := range n.Members {
		if n.Members[i].ID == old.Self {
			n.Members[i].ID, n.Members[i].PublicKey, n.Members[i].Replica = id, public, do.Replica
		}
	}
	if err := errors.Join(os.Mkdir(string(d), 0o700), os.WriteFile(n.Store.Path, nil, 0o600), os.Truncate(n.Store.Path, 256<<20),
		os.WriteFile(d.Key(), key.Seed(), 0o600), config.Save(d, &n)); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.kill(name) })
	return do
}

// inSync tells who is in sync for the citizens' group, as a node sees it.
func (w *town) inSync(name string, want ...ident.Node) bool {
	for _, g := range w.status(name).Groups {
		if g.Citizen {
			if len(g.InSync) != len(want) {
				return false
			}
			for i := range want {
				if g.InSync[i] != want[i] {
					return false
				}
			}
			return true
		}
	}
	return false
}

// Here init and all services are real: a node is lost for good, a blank machine takes
// its place, all data comes to it, and it carries the town when the survivor dies. The
// machine that was given up is nobody when it comes back.
func TestANewMachineTakesALostNodesPlace(t *testing.T) {
	w := newTown(t)
	w.withStores()
	for _, n := range names {
		w.run(n, "init")
	}
	w.await("a majority", func() bool { return w.status("a").Votes.Vouched && w.status("b").Votes.Vouched })
	g := w.propose("a", &cluster.CreateGroup{Name: "citizen", Preferred: 1, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "disk", SizeBytes: 16 << 20}}})
	w.propose("a", &cluster.SetService{Group: g.Group})
	w.await("citizens to be served, with the twin in sync", func() bool {
		n := w.status("a")
		return n.Citizen != nil && n.Citizen.Serving && n.Store.Linked && w.inSync("a", 1, 2)
	})
	do := w.replacement("b2", 4)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := w.ctl("a").Propose(ctx, do); !errors.Is(err, cluster.ErrRefused) {
		t.Fatalf("a node that is in sync is replaced: %v", err)
	}
	w.kill("b")
	w.await("a alone in sync", func() bool { return w.inSync("a", 1) })
	w.propose("a", do)
	for _, n := range []string{"a", "w"} {
		w.await(n+" to follow", func() bool {
			c, err := config.Load(w.dirs[n])
			return err == nil && c.Members[1].ID == 4 && c.Members[1].Replica == do.Replica
		})
	}
	w.run("b2", "init")
	w.await("the newcomer in sync", func() bool { return w.inSync("a", 1, 4) && w.inSync("b2", 1, 4) })
	w.await("citizens to be served", func() bool { n := w.status("a"); return n.Citizen != nil && n.Citizen.Serving })
	w.kill("a")
	w.await("the newcomer to serve", func() bool { n := w.status("b2"); return n.Address && n.Citizen != nil && n.Citizen.Serving })
	w.run("a", "init")
	w.await("both in sync again", func() bool { return w.inSync("a", 1, 4) && w.inSync("b2", 1, 4) })

	w.kill("b2") // its addresses are free for the old machine
	w.await("a to go on", func() bool { return w.inSync("a", 1) })
	w.run("b", "init")
	w.await("the old machine to answer", func() bool { return w.status("b").ID == 2 })
	for range 60 { // some lives of its connections
		if n := w.status("b"); n.Votes.Vouched || n.Members[0].Up {
			t.Fatal("the machine that was given up is heard")
		}
		if n := w.status("a"); n.ID == 1 && (n.Members[1].Up || !n.Votes.Vouched) {
			t.Fatalf("on a: the old machine is up: %v, a majority vouches: %v", n.Members[1].Up, n.Votes.Vouched)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
