package world_test

import (
	"os"
	"strconv"
	"testing"

	"beffroi.dev/tools/simulate/world"
)

// seeds is how many seeds a test run takes: BEFFROI_SEEDS, or a few.
func seeds(t *testing.T) uint64 {
	if s := os.Getenv("BEFFROI_SEEDS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("BEFFROI_SEEDS: %v", err)
		}
		return n
	}
	return 60
}

// TestEverySeedKeepsItsPromises is the heart of the suite: every acknowledged
// write is read back, no read shows what was not committed or an older value,
// both copies are equal at the end, each epoch has one configuration, and the
// cluster always comes to rest.
func TestEverySeedKeepsItsPromises(t *testing.T) {
	total, failure := world.Many(1, seeds(t), world.Options{Ops: world.MinOps, Faults: world.MinFaults}, nil)
	t.Log(total)
	if failure != nil {
		t.Fatal(failure)
	}
	if total.Seeds >= 1000 {
		for _, f := range world.FaultNames() {
			if total.Faults[f] == 0 {
				t.Errorf("no seed had the fault %q", f)
			}
		}
		for _, s := range []string{
			"mirrored", "solo", "resync", "checkpoint",
			"replace: refused", "replace: asked again", "replace: voted", "replace: the newcomer is in sync",
			"replace: the lost node is back", "replace: the lost machine is back, too late",
			"replace: voted while the lost machine is heard", "replace: voted while the lost machine runs on unheard",
			"replace: a vote message of the lost machine is heard", "replace: the lost node is not taken in again",
			"replace: the survivor dies before it is over", "replace: the newcomer dies before it is over", "replace: the witness dies before it is over",
			"source cut while it copied", "target cut while it was copied to",
		} {
			if total.States[s] == 0 {
				t.Errorf("no seed reached the state %q", s)
			}
		}
	}
}

func TestOneSeedRunTwiceGivesOneTrace(t *testing.T) {
	replaced := false
	for seed := uint64(1); seed <= 5 || !replaced && seed <= 50; seed++ {
		opt := world.Options{Seed: seed, Ops: world.MinOps, Faults: world.MinFaults}
		_, first, err1 := world.New(opt).Run()
		c, second, err2 := world.New(opt).Run()
		replaced = replaced || c.States["replace: the newcomer is in sync"] > 0
		if first != second || (err1 == nil) != (err2 == nil) {
			t.Errorf("seed %d: traces %016x and %016x", seed, first, second)
		}
		if c.Ops < world.MinOps || c.Primaries < 1 {
			t.Errorf("seed %d is too small: %d requests, %d changes of primary", seed, c.Ops, c.Primaries)
		}
	}
	if !replaced {
		t.Error("no node was replaced in any of them")
	}
}
