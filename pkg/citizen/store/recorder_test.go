package store_test

import (
	"maps"
	"math/rand/v2"
	"sync"

	"beffroi.dev/pkg/disk"
)

// op is one write or, without data, one sync.
type op struct {
	off  int64
	data []byte
}

// image is the content of a device, by sector.
type image map[int64][disk.SectorSize]byte

func (m image) apply(o op) {
	for i := 0; i < len(o.data); i += disk.SectorSize {
		m[o.off/disk.SectorSize+int64(i/disk.SectorSize)] = [disk.SectorSize]byte(o.data[i:])
	}
}

// recorder is a device that keeps every write and sync in order, so that a test
// can ask what a power cut at any moment would have left.
type recorder struct {
	size int64

	mu   sync.Mutex // guards all below
	now  image
	ops  []op
	full bool  // writes are refused for lack of space
	fail error // syncs fail with this
}

func newRecorder(size int64, from image) *recorder {
	return &recorder{size: size, now: maps.Clone(from)}
}

func (d *recorder) Size() int64  { return d.size }
func (d *recorder) Close() error { return nil }

func (d *recorder) ReadAt(p []byte, off int64) (int, error) {
	if err := disk.CheckRange(off, int64(len(p)), d.size); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := 0; n < len(p); {
		at := off + int64(n)
		s := d.now[at/disk.SectorSize]
		n += copy(p[n:], s[at%disk.SectorSize:])
	}
	return len(p), nil
}

func (d *recorder) WriteAt(p []byte, off int64) (int, error) {
	if err := disk.CheckRange(off, int64(len(p)), d.size); err != nil {
		return 0, err
	}
	if off%disk.BlockSize != 0 || len(p)%disk.BlockSize != 0 {
		panic("the store writes whole blocks")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return 0, disk.ErrNoSpace
	}
	o := op{off, append([]byte(nil), p...)}
	d.ops = append(d.ops, o)
	d.now.apply(o)
	return len(p), nil
}

func (d *recorder) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.ops = append(d.ops, op{})
	return nil
}

func (d *recorder) set(full bool, fail error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full, d.fail = full, fail
}

func (d *recorder) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ops)
}

// cutter walks the recorded operations and makes crash images.
type cutter struct {
	ops     []op
	durable image // everything up to the last sync before at
	at      int
	pending []op // written since
}

func newCutter(base image, ops []op) *cutter { return &cutter{ops: ops, durable: maps.Clone(base)} }

// advance moves the cut to just before operation n; n never goes back.
func (c *cutter) advance(n int) {
	for ; c.at < n; c.at++ {
		if o := c.ops[c.at]; o.data != nil {
			c.pending = append(c.pending, o)
			continue
		}
		for _, o := range c.pending {
			c.durable.apply(o)
		}
		c.pending = nil
	}
}

// all is the image when everything written was kept.
func (c *cutter) all() image {
	m := maps.Clone(c.durable)
	for _, o := range c.pending {
		m.apply(o)
	}
	return m
}

// some is an image after a seeded loss: each sector of each unsynced write is
// kept or lost, and the writes reach the disk in any order.
func (c *cutter) some(rng *rand.Rand) image {
	m := maps.Clone(c.durable)
	keep := rng.Float64()
	for _, i := range rng.Perm(len(c.pending)) {
		whole := rng.IntN(3) == 0 // sometimes a write is kept or dropped as one
		kept := rng.Float64() < keep
		o := c.pending[i]
		for s := 0; s < len(o.data); s += disk.SectorSize {
			if whole && kept || !whole && rng.Float64() < keep {
				m.apply(op{o.off + int64(s), o.data[s : s+disk.SectorSize]})
			}
		}
	}
	return m
}
