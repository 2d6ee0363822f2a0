package main

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"beffroi.dev/tools/histories/rig"
)

// newRig starts a lab in a folder with a short name: socket paths are bounded.
func newRig(t *testing.T) *rig.Rig {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a lab")
	}
	bin := t.TempDir()
	if err := rig.Build(context.Background(), bin); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r, err := rig.Start(context.Background(), dir, bin, "--store", "512")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Down(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestHistoriesOfBrokenPairsAreThoseOfOneDisk runs with the seed of
// BEFFROI_HISTORY_SEED, or 1.
func TestHistoriesOfBrokenPairsAreThoseOfOneDisk(t *testing.T) {
	r := newRig(t)
	seed, err := strconv.ParseUint(os.Getenv("BEFFROI_HISTORY_SEED"), 10, 64)
	if err != nil {
		seed = 1
	}
	var out bytes.Buffer
	err = run(context.Background(), r, options{seconds: 60, seed: seed, clients: 8}, &out)
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []string{"kill", "pause", "cut", "switch"} {
		if !strings.Contains(out.String(), fault) {
			t.Errorf("a run of 60 s had no %s", fault)
		}
	}
}

func TestARunWithoutClientsIsRefused(t *testing.T) {
	for _, o := range []options{{clients: 1, seconds: 1}, {clients: 65, seconds: 1}, {clients: 8}} {
		if err := run(context.Background(), nil, o, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "use 2 to 64 clients") {
			t.Errorf("run(%+v) = %v; want a refusal that says what is allowed", o, err)
		}
	}
}
