package extent_test

import (
	"testing"

	"pgregory.net/rapid"

	"beffroi.dev/pkg/block/extent"
)

type entry struct {
	loc uint64
	sum uint32
}

// TestMapBehavesLikeATable holds a Map against a plain Go map through random
// histories, with snapshots that must never change afterwards.
func TestMapBehavesLikeATable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m extent.Map
		want := map[uint64]entry{}
		live := map[uint64]bool{}
		released := func(loc uint64) {
			if !live[loc] {
				t.Fatalf("block %d released twice or never held", loc)
			}
			delete(live, loc)
		}
		type frozen struct {
			m    *extent.Map
			want map[uint64]entry
		}
		var snaps []frozen
		next := uint64(1)
		lbas := rapid.Uint64Range(0, 3000)
		if rapid.Bool().Draw(t, "sparse") {
			lbas = rapid.Uint64Range(1<<30, 1<<30+2000)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			lba, n := lbas.Draw(t, "lba"), rapid.Uint64Range(1, 700).Draw(t, "n")
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0, 1:
				sums := make([]uint32, n)
				for i := range sums {
					sums[i] = uint32(next) + uint32(i)
					want[lba+uint64(i)] = entry{next + uint64(i), sums[i]}
				}
				for i := range n {
					live[next+i] = true
				}
				m.Set(lba, next, sums, released)
				next += n
			case 2:
				m.Unset(lba, n, released)
				for i := range n {
					delete(want, lba+i)
				}
			case 3:
				c := map[uint64]entry{}
				for k, v := range want {
					c[k] = v
				}
				snaps = append(snaps, frozen{m.Snapshot(), c})
			}
			if m.Mapped() != uint64(len(want)) || len(live) != len(want) {
				t.Fatalf("mapped %d, live %d; want %d", m.Mapped(), len(live), len(want))
			}
		}
		snaps = append(snaps, frozen{&m, want})
		for _, s := range snaps {
			seen, last := 0, uint64(0)
			s.m.Each(func(lba, loc uint64, sum uint32) bool {
				if (entry{loc, sum}) != s.want[lba] || seen > 0 && lba <= last {
					t.Fatalf("block %d: got %d/%d; want %v", lba, loc, sum, s.want[lba])
				}
				seen, last = seen+1, lba
				return true
			})
			if seen != len(s.want) {
				t.Fatalf("Each showed %d blocks; want %d", seen, len(s.want))
			}
			lba := lbas.Draw(t, "run")
			n, mapped := s.m.Run(lba, 900)
			for i := range n {
				if _, ok := s.want[lba+i]; ok != mapped {
					t.Fatalf("run at %d of %d: block %d mapped %v", lba, n, lba+i, ok)
				}
			}
			if _, ok := s.want[lba+n]; n < 900 && ok == mapped {
				t.Fatalf("run at %d ends early at %d", lba, n)
			}
		}
	})
}
