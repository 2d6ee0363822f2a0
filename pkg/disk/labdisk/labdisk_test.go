package labdisk

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/simdisk"
)

// Whatever order the pieces of a sync take, and however they are cut, two writes of one
// place leave the later one; and the orders of different seeds differ.
func TestASyncShufflesButKeepsTheOrderOfOnePlace(t *testing.T) {
	const blocks = 16
	orders := map[string]bool{}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		under := simdisk.New(blocks * disk.BlockSize)
		d := New(under, seed)
		want := make([]byte, blocks*disk.BlockSize)
		for n := range 40 {
			off := rng.IntN(blocks*8-16) * disk.SectorSize
			b := bytes.Repeat([]byte{byte(n + 1)}, (1+rng.IntN(16))*disk.SectorSize)
			copy(want[off:], b)
			if _, err := d.WriteAt(b, int64(off)); err != nil {
				t.Fatal(err)
			}
		}
		var order []byte
		for _, p := range d.shuffled() {
			order = append(order, p.data[0])
		}
		orders[string(order)] = true
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := under.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: a later write of a place was laid below an earlier one", seed)
		}
	}
	if len(orders) != 50 {
		t.Errorf("50 seeds gave %d orders", len(orders))
	}
}
