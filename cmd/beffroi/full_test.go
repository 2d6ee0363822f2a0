package main_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/quorum/cluster"
)

// The state folder is a small file system here, as the state partition is; the store
// and the run folder are not on it.
func TestAFullStateIsToldAndHurtsNobodyWhoDoesNotWriteThere(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	w := newTown(t)
	w.withStores()
	d := w.dirs["a"]
	n, err := config.Load(d)
	if err != nil {
		t.Fatal(err)
	}
	n.Store.Path = filepath.Join(filepath.Dir(string(d)), "store-a")
	if err := os.Rename(filepath.Join(string(d), "store"), n.Store.Path); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(d.Key())
	if err != nil {
		t.Fatal(err)
	}
	mount := func(path, size string) {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("state", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700,size="+size); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	}
	mount(string(d), "16m")
	mount(d.Run(), "16m")
	if err := config.Save(d, n); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.Key(), key, 0o600); err != nil {
		t.Fatal(err)
	}
	startA(t, w, noRights)
	full := filepath.Join(string(d), "full")
	f, err := os.Create(full)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, zeros{})
	_ = f.Close()
	t.Logf("filled: %v", err)
	w.await("that it is told", func() bool {
		return slices.ContainsFunc(w.status("a").Problem, func(p status.Problem) bool { return p.Code == "state-full" && p.Object == "a" })
	})
	if !answersNow("http://" + n.Citizen.Service + "/") {
		t.Error("citizens are not answered any more")
	}
	for range 20 { // the vote goes on, with or without this node's log
		w.propose("b", record("while-a-is-full"))
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	w.propose("a", &cluster.Record{Event: cluster.Event{Kind: "room-again"}})
	w.await("that all is well again", func() bool {
		s := w.status("a")
		list, err := status.LoadServices(d.Services())
		return s.Votes.Vouched && err == nil && !slices.ContainsFunc(list, status.Service.Down) &&
			!slices.ContainsFunc(s.Problem, func(p status.Problem) bool { return p.Code == "state-full" })
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
