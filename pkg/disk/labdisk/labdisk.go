// Package labdisk is the disk of a lab node: a file that forgets what was not
// flushed when the power is cut.
//
// Writes stay in the memory of the process until a sync, so that a killed
// process loses them as a disk loses its cache. A sync writes them out in pieces
// and in an order that the seed decides, so that a kill in its middle tears and
// reorders them. Some pieces reach the file before any sync, as a real cache
// destages when it likes. It passes the disktest suite.
package labdisk

import (
	"cmp"
	"io"
	"math/rand/v2"
	"slices"
	"sync"

	"beffroi.dev/pkg/disk"
)

// Disk is a disk.Device over another one.
type Disk struct {
	under disk.Device

	mu    sync.Mutex // guards rng, cache
	rng   *rand.Rand
	cache []piece
}

type piece struct {
	off  int64
	data []byte
}

// New makes a lab disk over under, which it closes.
func New(under disk.Device, seed uint64) *Disk {
	return &Disk{under: under, rng: rand.New(rand.NewPCG(seed, 0x1abd15c))}
}

// Size is the device's length in bytes.
func (d *Disk) Size() int64 { return d.under.Size() }

// Close loses what was not flushed, as pulling the plug does.
func (d *Disk) Close() error { return d.under.Close() }

// ReadAt reads the newest content.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.under.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, err
	}
	for _, c := range d.cache {
		from, to := max(off, c.off), min(off+int64(n), c.off+int64(len(c.data)))
		if from < to {
			copy(p[from-off:to-off], c.data[from-c.off:])
		}
	}
	return n, err
}

// WriteAt keeps p in memory. Sometimes a part of it reaches the file at once.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if err := disk.CheckRange(off, int64(len(p)), d.Size()); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := piece{off, append([]byte(nil), p...)}
	d.cache = append(d.cache, c)
	if len(p) > disk.SectorSize && d.rng.IntN(8) == 0 {
		first := d.rng.IntN(len(p)/disk.SectorSize) * disk.SectorSize
		if _, err := d.under.WriteAt(c.data[first:first+disk.SectorSize], off+int64(first)); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Sync writes out what is in memory, then flushes the file.
func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.shuffled() {
		if _, err := d.under.WriteAt(p.data, p.off); err != nil {
			return err
		}
	}
	d.cache = nil
	return d.under.Sync()
}

// shuffled cuts the cache into pieces in an order that the seed decides. Two
// writes of one place keep their order.
func (d *Disk) shuffled() []piece {
	type ranked struct {
		piece
		rank float64
	}
	var all []ranked
	for _, c := range d.cache {
		cut := 0
		if n := len(c.data) / disk.SectorSize; n > 1 && len(c.data)%disk.SectorSize == 0 {
			cut = d.rng.IntN(n) * disk.SectorSize
		}
		before := len(all) // the halves of one write are free of each other
		for _, p := range []piece{{c.off, c.data[:cut]}, {c.off + int64(cut), c.data[cut:]}} {
			if len(p.data) == 0 {
				continue
			}
			first := 0.0
			for _, e := range all[:before] {
				if e.off < p.off+int64(len(p.data)) && p.off < e.off+int64(len(e.data)) {
					first = max(first, e.rank)
				}
			}
			all = append(all, ranked{p, first + (1-first)*d.rng.Float64()})
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
	out := make([]piece, len(all))
	for i, r := range all {
		out[i] = r.piece
	}
	return out
}
