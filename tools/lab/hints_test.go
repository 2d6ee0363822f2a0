package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"beffroi.dev/tools/newcomer"
)

// TestTheFiveThingsToTry types what lab up proposes.
func TestTheFiveThingsToTry(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	if err := os.Symlink(r.Bin, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "out", "counter.img")
	if err := os.Mkdir(filepath.Dir(image), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(r.Bin, "counterguest"), "-o", image).CombinedOutput(); err != nil {
		t.Fatalf("make the counter guest: %v: %s", err, out)
	}
	settled(t, r)
	c := file(t, r)
	if err := newcomer.Walk(context.Background(), newcomer.Config{Rig: r, Filer: c.Filer, Dir: dir, Within: 2 * settleBound, Say: t.Logf}); err != nil {
		t.Fatal(err)
	}
	c.readBack(t)
}
