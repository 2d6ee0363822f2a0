package mirror

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/clock"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// Bounds of a resync: how much may be on its way, and how much one copy takes.
const (
	resyncWindow = 1024 // blocks: 4 MiB, two full frames, so that the peer's disk never idles
	resyncRun    = 64   // blocks: 256 KiB, short enough not to hold up a guest's write
)

// resyncState is the progress of taking a returning peer up to date.
type resyncState struct {
	total    uint64 // blocks that were dirty when it began
	copied   uint64
	since    clock.Instant
	inflight int // blocks read or sent and not acknowledged
	flying   map[ident.Volume]*roaring64.Bitmap
	cursor   blockKey
}

// resyncMore starts copies of dirty blocks. A block with a pending write needs
// none: the write itself goes to the peer, or makes the block copyable when it
// is committed.
func (g *group) resyncMore() {
	if g.peer.phase != peerLive || g.conf.Has(g.c.cfg.Peer) || !g.serving || g.c.failed != nil {
		return
	}
	for g.resync.inflight < resyncWindow {
		v, lba, ok := g.nextDirty()
		if !ok {
			return
		}
		ext := g.volume(v).ext
		loc, sum := ext.Get(lba)
		count, sums := uint64(1), []uint32{sum}
		for count < resyncRun && g.copyable(v, lba+count) {
			l, s := ext.Get(lba + count)
			if (l == 0) != (loc == 0) || loc != 0 && l != loc+count {
				break
			}
			sums = append(sums, s)
			count++
		}
		g.fly(v, lba, count)
		if loc == 0 {
			g.sendCopy(&frame.Record{Kind: frame.CopyUnmap, Volume: v, LBA: lba, Count: uint32(count)})
			continue
		}
		g.c.ready.Reads = append(g.c.ready.Reads, &Read{
			Loc: loc, Buf: disk.Aligned(int64(count) * disk.BlockSize), vol: v, lba: lba, sums: sums, copy: true, g: g, gen: uint32(g.peer.attempt),
		})
	}
}

func (g *group) fly(v ident.Volume, lba, count uint64) {
	if g.resync.flying == nil {
		g.resync.flying = map[ident.Volume]*roaring64.Bitmap{}
	}
	addRange(g.resync.flying, v, lba, count)
	g.resync.inflight += int(count)
	g.resync.cursor = blockKey{v, lba + count}
}

func (g *group) copyable(v ident.Volume, lba uint64) bool {
	d, f := g.dirty[v], g.resync.flying[v]
	return d != nil && d.Contains(lba) && (f == nil || !f.Contains(lba)) && g.newestPending(v, lba) == nil
}

// nextDirty finds the next block to copy from the cursor on, going round once.
func (g *group) nextDirty() (ident.Volume, uint64, bool) {
	volumes := sortedVolumes(g.dirty)
	start := g.resync.cursor
	for round := range 2 {
		for _, v := range volumes {
			it := g.dirty[v].Iterator()
			if round == 0 {
				if v < start.volume {
					continue
				}
				if v == start.volume {
					it.AdvanceIfNeeded(start.lba)
				}
			}
			for tries := 0; it.HasNext() && tries < 4*resyncWindow; tries++ {
				if lba := it.Next(); g.copyable(v, lba) {
					return v, lba, true
				}
			}
		}
	}
	return 0, 0, false
}

// copyRead sends what was read, unless the block changed meanwhile: then its
// newer version is in the stream, or will be copied later.
func (g *group) copyRead(r *Read) {
	if g.peer.phase != peerLive || uint64(r.gen) != g.peer.attempt&0xffffffff || g.conf.Has(g.c.cfg.Peer) {
		return
	}
	ext := g.volume(r.vol).ext
	fresh := r.Err == nil
	for i := range uint64(len(r.sums)) {
		loc, _ := ext.Get(r.lba + i)
		fresh = fresh && loc == r.Loc+i && g.newestPending(r.vol, r.lba+i) == nil
	}
	if !fresh {
		g.land(r.vol, r.lba, uint64(len(r.sums)))
		return
	}
	g.sendCopy(&frame.Record{Kind: frame.Copy, Volume: r.vol, LBA: r.lba, Count: uint32(len(r.sums)), Sums: slices.Clone(r.sums), Data: r.Buf})
}

// sendCopy puts a copy into the stream. It carries committed data, so its number
// is the watermark: a truncation of what was never committed must not take the
// copy with it.
func (g *group) sendCopy(r *frame.Record) {
	r.Group, r.Epoch, r.Seq = g.id, g.conf.Epoch, g.watermark
	g.toPeer(r)
	if !g.c.log.InFlight() || g.c.outN >= frame.MaxPayload {
		g.c.leads = true
	}
}

// land takes blocks out of flight.
func (g *group) land(v ident.Volume, lba, count uint64) {
	g.resync.inflight -= int(count)
	if f := g.resync.flying[v]; f != nil {
		f.RemoveRange(lba, lba+count)
	}
}

func (s *resyncState) acked(r sentRecord) {
	s.inflight -= int(r.count)
	s.copied += r.count
	if f := s.flying[r.volume]; f != nil {
		f.RemoveRange(r.lba, r.lba+r.count)
	}
}
