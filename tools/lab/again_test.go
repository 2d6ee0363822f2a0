package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// held is a lab of virtual machines that was made of an image, and is down.
func held(t *testing.T, image string) (Lab, options) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "beffroi.img")
	if err := os.WriteFile(file, []byte(image), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := sumFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lab := Lab{Version: 1, Mode: "vm", Profile: "emulated", Dir: filepath.Join(dir, "vm"), StoreBytes: 512 << 20}
	lab.Socket, lab.TokenFile, lab.Password = filepath.Join(lab.Dir, "lab.sock"), filepath.Join(lab.Dir, "token"), filepath.Join(lab.Dir, "password")
	for _, name := range names[:2] {
		lab.Nodes = append(lab.Nodes, Machine{Name: name, Mode: "vm", Dir: filepath.Join(lab.Dir, name), Image: sum})
		if err := os.MkdirAll(filepath.Join(lab.Dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(lab.Dir, name, "disk.raw"), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.save(); err != nil {
		t.Fatal(err)
	}
	return lab, options{dir: lab.Dir, mode: "vm", profile: "emulated", storeSize: 512 << 20, image: file, given: map[string]bool{}}
}

func TestMachinesThatAreThereGoOnWithWhatTheyHold(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*options)
		given  string
		newer  bool // the image was built again meanwhile
		fails  string
		says   []string
		silent []string
	}{
		{name: "as make run does", given: "mode store", says: []string{"with their state"}, silent: []string{"NOTE"}},
		{name: "as make run does, the image is newer", given: "mode store", newer: true, says: []string{"with their state", "NOTE", "node a", "go on with theirs", "up --new"}},
		{name: "another store", given: "store", change: func(o *options) { o.storeSize = 1 << 30 }, fails: "--store is 512, not 1024"},
		{name: "the default store, which nobody asked for", change: func(o *options) { o.storeSize = 1 << 30 }, says: []string{"with their state"}},
		{name: "another profile", given: "profile", change: func(o *options) { o.profile = "lab" }, fails: "--profile is emulated, not lab"},
		{name: "another mode", given: "mode", change: func(o *options) { o.mode = "process" }, fails: "--mode is vm, not process"},
		{name: "blank ones", given: "blank", change: func(o *options) { o.blank = true }, fails: "--blank is false, not true"},
		{name: "the image they have", given: "image", says: []string{"with their state"}, silent: []string{"NOTE"}},
		{name: "an image that they do not have", given: "image", newer: true, fails: "the disk of node a holds image"},
		{name: "an image that is nowhere", given: "image", change: func(o *options) { o.image += ".none" }, fails: "no such file"},
		{name: "no image was built here", change: func(o *options) { o.image += ".none" }, says: []string{"with their state"}, silent: []string{"NOTE"}},
	} {
		lab, o := held(t, "one")
		for _, f := range strings.Fields(tc.given) {
			o.given[f] = true
		}
		if tc.change != nil {
			tc.change(&o)
		}
		if tc.newer {
			if err := os.WriteFile(o.image, []byte("two"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		_, err := machines(o, &out)
		if (err != nil) != (tc.fails != "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.fails)
		}
		for _, w := range tc.says {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: it does not say %q: %s", tc.name, w, out.String())
			}
		}
		for _, w := range tc.silent {
			if strings.Contains(out.String(), w) {
				t.Errorf("%s: it says %q: %s", tc.name, w, out.String())
			}
		}
		if b, err := os.ReadFile(filepath.Join(lab.Dir, "a", "disk.raw")); err != nil || string(b) != "precious" {
			t.Errorf("%s: the disk is %q, %v", tc.name, b, err)
		}
	}
}

func TestEraseTakesWhatTheLabMadeAndNothingElse(t *testing.T) {
	lab, _ := held(t, "one")
	own := filepath.Join(lab.Dir, "notes.txt")
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := erase(lab); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(lab.Dir)
	if err != nil || len(left) != 1 || left[0].Name() != "notes.txt" {
		t.Errorf("left: %v, %v", left, err)
	}
	stray := lab
	stray.Nodes = []Machine{{Name: "a", Dir: t.TempDir()}}
	if err := erase(stray); err == nil {
		t.Error("a folder outside the lab's was erased")
	}
}

// What would take their place has to be there first; and a copied folder's description is
// that of the other's machines.
func TestMachinesAreNotErasedForNothing(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(o *options)
		fails  string
	}{
		{"no image was built here", func(o *options) { o.image += ".none" }, "make image builds it"},
		{"a copied folder", func(o *options) { o.dir = t.TempDir() }, "is a copy of that in"},
	} {
		lab, o := held(t, "one")
		o.anew = true
		tc.change(&o)
		if o.dir != lab.Dir {
			b, err := os.ReadFile(filepath.Join(lab.Dir, "lab.json"))
			if err := errors.Join(err, os.WriteFile(filepath.Join(o.dir, "lab.json"), b, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := machines(o, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), tc.fails) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.fails)
		}
		if b, err := os.ReadFile(filepath.Join(lab.Dir, "a", "disk.raw")); err != nil || string(b) != "precious" {
			t.Errorf("%s: the disk is %q, %v", tc.name, b, err)
		}
	}
}

// TestADamagedDescriptionIsNotTakenForNoLab: its machines' disks would be overwritten.
func TestADamagedDescriptionIsNotTakenForNoLab(t *testing.T) {
	lab, o := held(t, "one")
	if err := os.WriteFile(filepath.Join(lab.Dir, "lab.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := machines(o, &bytes.Buffer{}); err == nil {
		t.Error("new machines were made")
	}
	if b, err := os.ReadFile(filepath.Join(lab.Dir, "a", "disk.raw")); err != nil || string(b) != "precious" {
		t.Errorf("the disk is %q, %v", b, err)
	}
}

func TestNewMachinesAreOfTheKindOfTheOldOnes(t *testing.T) {
	lab, _ := held(t, "one")
	asked := options{mode: "process", profile: "lab", storeSize: 1 << 30, given: map[string]bool{}}
	if o := asked.like(lab); o.mode != "vm" || o.profile != "emulated" || o.storeSize != lab.StoreBytes {
		t.Errorf("%+v", o)
	}
	asked.given = map[string]bool{"mode": true, "store": true}
	if o := asked.like(lab); o.mode != "process" || o.profile != "lab" || o.storeSize != 1<<30 {
		t.Errorf("%+v, asked for %+v", o, asked)
	}
}
