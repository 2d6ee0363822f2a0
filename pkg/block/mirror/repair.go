package mirror

import (
	"slices"

	"beffroi.dev/pkg/block/frame"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/ident"
)

// A block that does not match its checksum is asked of the peer, by checksum: a
// peer that holds another version, or a rotten one too, says no. The block that
// comes answers the read and is written anew, through the log, to both sides.

// fetch asks the peer for one block.
type fetch struct {
	id     uint64
	group  ident.Group
	volume ident.Volume
	lba    uint64
	sum    uint32
}

// fetched is the answer; no data means that the peer does not have it.
type fetched struct {
	id   uint64
	data []byte
}

func (m fetch) encode() []byte {
	b := le.AppendUint64([]byte{msgFetch}, m.id)
	b = le.AppendUint32(b, uint32(m.group))
	b = le.AppendUint32(b, uint32(m.volume))
	b = le.AppendUint64(b, m.lba)
	return le.AppendUint32(b, m.sum)
}

func parseFetch(msg []byte) (fetch, error) {
	r := &reader{b: msg}
	m := fetch{id: r.u64(), group: r.group(), volume: ident.Volume(r.u32()), lba: r.u64(), sum: r.u32()}
	return m, r.end()
}

func (m fetched) parts() [][]byte {
	b := le.AppendUint64([]byte{msgFetched}, m.id)
	if len(m.data) == 0 {
		return [][]byte{b}
	}
	return [][]byte{b, m.data}
}

func parseFetched(msg []byte) (fetched, error) {
	r := &reader{b: msg}
	m := fetched{id: r.u64()}
	m.data = r.b
	return m, r.err
}

// wanted is one rotten block of a read.
type wanted struct {
	read  *Read
	index int
}

// askPeer asks for the rotten blocks of a read, if the peer can have them: it is
// in the set, and its stream runs.
func (g *group) askPeer(r *Read) bool {
	c := g.c
	if r.asked || !g.primary() || !g.conf.Has(c.cfg.Peer) || g.peer.phase != peerLive || c.session == 0 {
		return false
	}
	r.asked = true
	for i, sum := range r.sums {
		if frame.Sum(r.vol, r.lba+uint64(i), r.block(i)) == sum {
			continue
		}
		c.nextID++
		c.fetches[c.nextID] = wanted{r, i}
		c.fetchOrder = append(c.fetchOrder, c.nextID)
		r.missing++
		c.send(fetch{id: c.nextID, group: g.id, volume: r.vol, lba: r.lba + uint64(i), sum: sum}.encode())
	}
	return r.missing > 0
}

func (r *Read) block(i int) []byte { return r.Buf[i*disk.BlockSize : (i+1)*disk.BlockSize] }

// receiveFetch looks a block up here. It need not be committed here yet: its
// checksum says that it is the one.
func (c *Core) receiveFetch(m fetch) {
	g := c.groups[m.group]
	if g == nil || c.failed != nil {
		c.send(fetched{id: m.id}.parts()...)
		return
	}
	if p := g.newestPending(m.volume, m.lba); p != nil && p.rec.Kind == frame.Write {
		if i := m.lba - p.rec.LBA; p.rec.Sums[i] == m.sum {
			c.send(fetched{id: m.id, data: slices.Clone(p.rec.Data[i*disk.BlockSize:][:disk.BlockSize])}.parts()...)
			return
		}
	}
	loc, sum := g.volume(m.volume).ext.Get(m.lba)
	if loc == 0 || sum != m.sum {
		c.send(fetched{id: m.id}.parts()...)
		return
	}
	c.ready.Reads = append(c.ready.Reads, &Read{
		Loc: loc, Buf: disk.Aligned(disk.BlockSize), vol: m.volume, lba: m.lba, sums: []uint32{sum}, g: g, forPeer: m.id, session: c.session,
	})
}

// fetchRead answers the peer with what was read for it.
func (c *Core) fetchRead(r *Read) {
	if r.session != c.session {
		return
	}
	m := fetched{id: r.forPeer}
	if r.Err == nil {
		m.data = r.Buf
	}
	c.send(m.parts()...)
}

// receiveFetched takes the peer's block, if it is intact, and heals this copy.
func (c *Core) receiveFetched(m fetched) {
	w, ok := c.fetches[m.id]
	if !ok {
		return
	}
	c.forgetFetch(m.id)
	r := w.read
	lba := r.lba + uint64(w.index)
	if len(m.data) == disk.BlockSize && frame.Sum(r.vol, lba, m.data) == r.sums[w.index] {
		copy(r.block(w.index), m.data)
		c.stats.Repaired++
		r.g.heal(r, lba, m.data)
	}
	if r.missing--; r.missing == 0 {
		r.Err = nil
		r.Check()
		c.readEnded(r)
	}
}

// heal writes a block anew if it is still the rotten one.
func (g *group) heal(r *Read, lba uint64, data []byte) {
	loc, _ := g.volume(r.vol).ext.Get(lba)
	if loc != r.Loc+lba-r.lba || g.newestPending(r.vol, lba) != nil || !g.mayAssign() {
		return // it changed, or the next read will heal it
	}
	o := &op{req: &disk.Request{Op: disk.Write}, g: g, vol: r.vol, internal: true, deadline: g.c.now.Add(g.c.cfg.Timing.Hold)}
	g.assign(&frame.Record{Kind: frame.Write, Volume: r.vol, LBA: lba, Count: 1, Data: slices.Clone(data)}, o)
}

func (c *Core) forgetFetch(id uint64) {
	delete(c.fetches, id)
	if i := slices.Index(c.fetchOrder, id); i >= 0 {
		c.fetchOrder = slices.Delete(c.fetchOrder, i, i+1)
	}
}

// endFetches fails the reads that wait for a peer that is gone.
func (c *Core) endFetches() {
	for _, id := range slices.Clone(c.fetchOrder) {
		w := c.fetches[id]
		c.forgetFetch(id)
		if w.read.missing--; w.read.missing == 0 {
			c.readEnded(w.read)
		}
	}
}
