package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/simdisk"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

func TestWhichDevicesANodeTakes(t *testing.T) {
	mine := seglog.Identity{Pair: ident.UUID{1}, Replica: ident.UUID{2}}
	for _, tc := range []struct {
		name   string
		holds  *seglog.Identity // nil: blank
		other  bool             // it holds what is no store
		hadOne bool             // this node has had a store before
		want   error
	}{
		{"a blank one, the first time", nil, false, false, nil},
		{"its own", &mine, false, true, nil},
		{"its own, whose marker was lost", &mine, false, false, nil},
		{"a blank one, where a store was", nil, false, true, ErrReplaced},
		{"somebody's file system", nil, true, false, seglog.ErrOther},
		{"somebody's file system, where a store was", nil, true, true, ErrReplaced},
		{"another pair's", &seglog.Identity{Pair: ident.UUID{9}, Replica: ident.UUID{2}}, false, false, seglog.ErrForeign},
		{"its twin's", &seglog.Identity{Pair: ident.UUID{1}, Replica: ident.UUID{3}}, false, false, ErrReplica},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := config.Dir(t.TempDir())
			dev := simdisk.New(seglog.MinSize)
			if tc.holds != nil {
				if err := seglog.Format(dev, *tc.holds, 1); err != nil {
					t.Fatal(err)
				}
			}
			if tc.other { // its mark lies where no superblock of ours is
				if _, err := dev.WriteAt(bytes.Repeat([]byte("_BHRfS_M"), disk.BlockSize/8), 64<<10); err != nil {
					t.Fatal(err)
				}
			}
			if tc.hadOne {
				if err := os.Mkdir(dir.Own("block"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := mark(filepath.Join(dir.Own("block"), "store-made"), mine.Replica); err != nil {
					t.Fatal(err)
				}
			}
			if err := adopt(dev, dir, mine); !errors.Is(err, tc.want) {
				t.Errorf("adopt = %v; want %v", err, tc.want)
			}
			id, err := seglog.ReadIdentity(dev)
			switch {
			case tc.want == nil && (err != nil || id != mine):
				t.Errorf("the device holds %v (%v) afterwards", id, err)
			case tc.want != nil && tc.holds != nil && id != *tc.holds:
				t.Error("a refused device was changed")
			case tc.want != nil && tc.other && !errors.Is(err, seglog.ErrOther):
				t.Errorf("what was there is not there any more: %v", err)
			case errors.Is(tc.want, ErrReplaced) && !tc.other && !errors.Is(err, seglog.ErrBlank):
				t.Error("a replaced disk was formatted under the old identity")
			}
		})
	}
}

func TestASecondOwnerOfTheStoreIsToldWhoHoldsIt(t *testing.T) {
	dir := config.Dir(t.TempDir())
	path := filepath.Join(string(dir), "store")
	if err := disk.CreateFile(path, seglog.MinSize); err != nil {
		t.Fatal(err)
	}
	n := &config.Node{Pair: ident.UUID{1}, Self: 5, Store: config.Store{Path: path}, Members: []config.Member{{ID: 5, Kind: cluster.KindNode, Replica: ident.UUID{2}}}}
	first, err := openDevice(dir, n)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := openDevice(dir, n); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("second owner: %v; want ErrLocked", err)
	}
	if _, err := os.Stat(filepath.Join(dir.Own("block"), "store-made")); err != nil {
		t.Errorf("the first store left no mark: %v", err)
	}
}

func TestExportsOfAVMAreOpenToItsGenerationOnly(t *testing.T) {
	const self, other = ident.Node(5), ident.Node(6)
	st := &cluster.State{
		Groups: map[ident.Group]cluster.Group{
			1: {ID: 1, Name: "vm-etat-civil", Volumes: []cluster.Volume{{ID: 1, Name: "disk0", SizeBytes: 1 << 20}}},
			2: {ID: 2, Name: "raw", Volumes: []cluster.Volume{{ID: 2, Name: "data", SizeBytes: 1 << 20}}},
		},
		VMs: map[ident.VM]cluster.VM{1: {ID: 1, Group: 1, Node: self, Generation: 7}},
	}
	for _, tc := range []struct {
		name, export string
		node         ident.Node
		want         error // nil: opened
	}{
		{"a volume without a VM", "raw/data", self, nil},
		{"the current generation", "vm-etat-civil/disk0@7", self, nil},
		{"an older generation is fenced", "vm-etat-civil/disk0@6", self, errNoExport},
		{"a generation not known here yet: try again", "vm-etat-civil/disk0@8", self, disk.ErrClosed},
		{"no generation", "vm-etat-civil/disk0", self, errNoExport},
		{"the VM is placed elsewhere", "vm-etat-civil/disk0@7", other, errNoExport},
		{"not a number", "vm-etat-civil/disk0@x", self, errNoExport},
		{"no such volume", "raw/nope", self, errNoExport},
		{"no such group", "nope/data", self, errNoExport},
		{"nonsense", "///@@", self, errNoExport},
	} {
		s := &Service{node: &config.Node{Self: tc.node}, state: st}
		if _, err := (exports{s}).Open(tc.export); !errors.Is(err, tc.want) {
			t.Errorf("%s: Open(%q) = %v; want %v", tc.name, tc.export, err, tc.want)
		}
	}
}
