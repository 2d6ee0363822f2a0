// Package simdisk is a simulated device that loses power.
//
// Writes live in a volatile cache until Sync. A power cut keeps a seeded choice
// of the cached sectors, in any mixture: lost, kept, torn. Stuck, failing and
// rotting disks are made on request. It passes the disktest suite.
package simdisk

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"beffroi.dev/pkg/disk"
)

const pageSize = 4096

// Disk is a simulated disk.Device. Its contents survive Crash, its failures too
// until Repair.
type Disk struct {
	mu     sync.Mutex // guards all below
	size   int64
	pages  map[int64][]byte // durable content
	cache  []cached         // in the order of the writes
	failed error
	ops    int // operations until it fails; negative: never
	syncs  int
	bytes  int64
}

type cached struct {
	off  int64
	data []byte
}

// New makes a blank disk of size bytes.
func New(size int64) *Disk {
	return &Disk{size: size, pages: map[int64][]byte{}, ops: -1}
}

// Size is the device's length in bytes.
func (d *Disk) Size() int64 { return d.size }

// Close does nothing: the disk stays for the next owner.
func (d *Disk) Close() error { return nil }

func (d *Disk) step() error {
	if d.failed == nil && d.ops == 0 {
		d.failed = fmt.Errorf("%w: simulated", disk.ErrFailed)
	}
	if d.ops > 0 {
		d.ops--
	}
	return d.failed
}

// ReadAt reads the newest content, cached or durable.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil {
		return 0, d.failed
	}
	short := false
	if off < 0 || off > d.size {
		return 0, disk.ErrOutOfRange
	}
	if int64(len(p)) > d.size-off {
		p, short = p[:d.size-off], true
	}
	d.readDurable(p, off)
	for _, c := range d.cache {
		overlay(p, off, c)
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

func overlay(p []byte, off int64, c cached) {
	from, to := max(off, c.off), min(off+int64(len(p)), c.off+int64(len(c.data)))
	if from < to {
		copy(p[from-off:to-off], c.data[from-c.off:])
	}
}

func (d *Disk) readDurable(p []byte, off int64) {
	for len(p) > 0 {
		page, in := off/pageSize, off%pageSize
		n := min(int64(len(p)), pageSize-in)
		if b := d.pages[page]; b != nil {
			copy(p[:n], b[in:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}

func (d *Disk) writeDurable(p []byte, off int64) {
	for len(p) > 0 {
		page, in := off/pageSize, off%pageSize
		n := min(int64(len(p)), pageSize-in)
		b := d.pages[page]
		if b == nil {
			b = make([]byte, pageSize)
			d.pages[page] = b
		}
		copy(b[in:], p[:n])
		p, off = p[n:], off+n
	}
}

// WriteAt puts p into the cache.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return 0, err
	}
	if err := disk.CheckRange(off, int64(len(p)), d.size); err != nil {
		return 0, err
	}
	d.cache = append(d.cache, cached{off, append([]byte(nil), p...)})
	d.bytes += int64(len(p))
	return len(p), nil
}

// Sync makes the cache durable.
func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	for _, c := range d.cache {
		d.writeDurable(c.data, c.off)
	}
	d.cache = nil
	d.syncs++
	return nil
}

// Crash cuts the power: each cached sector is kept or lost as rng decides, and
// sectors of later writes may survive those of earlier ones.
func (d *Disk) Crash(rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keep := rng.Float64() // a cut loses nearly all, nearly nothing, or anything between
	for _, c := range d.cache {
		for i := 0; i < len(c.data); i += disk.SectorSize {
			if rng.Float64() < keep {
				d.writeDurable(c.data[i:min(i+disk.SectorSize, len(c.data))], c.off+int64(i))
			}
		}
	}
	d.cache = nil
}

// FailAfter makes the disk fail for good at the nth write or sync from now.
func (d *Disk) FailAfter(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ops = n
}

// Repair ends a failure made by FailAfter, as a new controller would.
func (d *Disk) Repair() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed, d.ops = nil, -1
}

// Rot flips one bit of the durable content at off; it reports false where
// nothing was ever written.
func (d *Disk) Rot(off int64, bit uint) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.pages[off/pageSize]
	if b == nil {
		return false
	}
	b[off%pageSize] ^= 1 << (bit % 8)
	return true
}

// Clone copies the durable content only: what a power cut that loses the whole
// cache leaves.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := New(d.size)
	for k, v := range d.pages {
		c.pages[k] = append([]byte(nil), v...)
	}
	return c
}
