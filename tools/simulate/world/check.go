package world

import (
	"encoding/binary"
	"fmt"
	"time"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// checkEnd holds the two copies against each other, also when a node has read its log
// again, then lets each node serve alone and read everything, and holds the whole history
// against that of one disk.
func (w *World) checkEnd() error {
	if err := w.sameCopies(); err != nil {
		return err
	}
	follower := w.nodes[0]
	if follower == w.serving() {
		follower = w.nodes[1]
	}
	follower.crash()
	follower.start()
	for back := w.clk.Now().Add(2 * time.Second); w.clk.Now() < back; { // its twin notices, and it joins
		if !w.step() || w.broken() != nil {
			return w.broken()
		}
	}
	if err := w.settle("after the follower has read its log again"); err != nil {
		return err
	}
	if err := w.sameCopies(); err != nil {
		return err
	}
	for round := range 2 {
		if err := w.readAll(); err != nil {
			return err
		}
		if round == 1 {
			break
		}
		n := w.serving()
		n.crash()
		limit := w.clk.Now().Add(time.Minute)
		for !w.otherServes(n) {
			if !w.step() || w.clk.Now() > limit {
				return fmt.Errorf("the twin of %s did not take over: %s", n.name, w.describe())
			}
			if err := w.broken(); err != nil {
				return err
			}
		}
	}
	return w.load.check()
}

func (w *World) otherServes(dead *node) bool {
	for _, n := range w.nodes[:2] {
		if n == dead {
			continue
		}
		for _, spec := range w.groups {
			if s, ok := n.status(spec.ID); !ok || !s.Serving || !s.Readable {
				return false
			}
		}
	}
	return true
}

// readAll reads every block through whichever node runs, as part of the history.
func (w *World) readAll() error {
	var n *node
	for _, m := range w.nodes[:2] {
		if m.ready() {
			n = m
		}
	}
	for _, spec := range w.shared() {
		for _, v := range spec.Volumes {
			c := &client{l: w.load, id: 100, node: n}
			a := &attempt{group: spec.ID, vol: v.ID, units: volumeBlocks * 2, start: int64(w.clk.Now())}
			r := &disk.Request{Op: disk.Read, Len: volumeSize, Data: make([]byte, volumeSize)}
			c.issue(a, r)
			limit := w.clk.Now().Add(time.Minute)
			for c.busy {
				if !w.step() || w.clk.Now() > limit {
					return fmt.Errorf("reading volume %d at the end got no answer: %s", v.ID, w.describe())
				}
				if err := w.broken(); err != nil {
					return err
				}
			}
			if r.Err != nil {
				return fmt.Errorf("reading volume %d at the end: %w", v.ID, r.Err)
			}
		}
	}
	return w.checkUser()
}

// sameCopies compares what the two nodes hold, block by block, and what their
// disks say with the checksums.
func (w *World) sameCopies() error {
	type key struct {
		v   ident.Volume
		lba uint64
	}
	for _, spec := range w.groups {
		var sums [2]map[key]uint32
		for i, n := range w.nodes[:2] {
			sums[i] = map[key]uint32{}
			var bad error
			n.core.EachBlock(spec.ID, func(v ident.Volume, lba, loc uint64, sum uint32) {
				sums[i][key{v, lba}] = sum
				buf := make([]byte, disk.BlockSize)
				if _, err := n.disk.ReadAt(buf, int64(loc)*disk.BlockSize); err != nil || frame.Sum(v, lba, buf) != sum {
					bad = fmt.Errorf("node %s: volume %d block %d does not hold what its map says (%v)", n.name, v, lba, err)
				}
			})
			if bad != nil {
				return bad
			}
		}
		for k, s := range sums[0] {
			if t, ok := sums[1][k]; !ok || s != t {
				return fmt.Errorf("volume %d block %d: the two copies differ although the group is in sync%s%s", k.v, k.lba, w.nodes[0].trail(spec.ID, k.v, k.lba), w.nodes[1].trail(spec.ID, k.v, k.lba))
			}
		}
		if len(sums[0]) != len(sums[1]) {
			return fmt.Errorf("group %d: %d blocks on a, %d on b, although it is in sync", spec.ID, len(sums[0]), len(sums[1]))
		}
	}
	return nil
}

// trail lists what the log of a node says about one block since its last
// checkpoint, for the report of a failure.
func (n *node) trail(group ident.Group, v ident.Volume, lba uint64) string {
	l, rec, err := seglog.Open(n.disk, n.w.pair, nil)
	if err != nil {
		return err.Error()
	}
	_ = l
	s := "\n  log of " + n.name + ":"
	_ = rec.Replay(func(at seglog.Position, records []*frame.Record) error {
		for _, r := range records {
			if r.Group != group || r.Kind.Mapped() && (r.Volume != v || r.LBA > lba || r.LBA+uint64(r.Count) <= lba) {
				continue
			}
			s += fmt.Sprintf("\n    frame %d: %v epoch %d seq %d", at.LSN, r.Kind, r.Epoch, r.Seq)
			if r.Kind.HasPayload() {
				i := lba - r.LBA
				s += fmt.Sprintf(" units %d %d", binary.LittleEndian.Uint64(r.Data[i*disk.BlockSize:]), binary.LittleEndian.Uint64(r.Data[i*disk.BlockSize+unit:]))
			}
			if r.Conf != nil {
				s += fmt.Sprintf(" %+v base %d", *r.Conf, r.Base)
			}
		}
		return nil
	})
	return s
}
