// Package disktest is the conformance suite of the disk seam. Every Device,
// real or simulated, passes it.
package disktest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"beffroi.dev/pkg/disk"
)

// Device runs the suite against devices that open makes: each at least 1 MiB
// and all zeros.
func Device(t *testing.T, open func(t *testing.T) disk.Device) {
	t.Run("reads what was written, before and after a sync", func(t *testing.T) {
		d := open(t)
		rng := rand.New(rand.NewPCG(1, 2))
		model := make([]byte, 1<<20)
		for i := range 200 {
			off := rng.Int64N(1<<20/disk.SectorSize) * disk.SectorSize
			n := min(rng.Int64N(20)*disk.SectorSize+disk.SectorSize, 1<<20-off)
			p := make([]byte, n)
			for j := range p {
				p[j] = byte(rng.Uint32())
			}
			copy(model[off:], p)
			if k, err := d.WriteAt(p, off); err != nil || k != len(p) {
				t.Fatalf("WriteAt(%d bytes, %d) = %d, %v", n, off, k, err)
			}
			if i%17 == 0 {
				if err := d.Sync(); err != nil {
					t.Fatalf("Sync: %v", err)
				}
			}
			got := make([]byte, rng.IntN(9000)+1)
			at := rng.Int64N(1<<20 - int64(len(got)))
			if k, err := d.ReadAt(got, at); err != nil || k != len(got) {
				t.Fatalf("ReadAt(%d bytes, %d) = %d, %v", len(got), at, k, err)
			}
			if !bytes.Equal(got, model[at:at+int64(len(got))]) {
				t.Fatalf("step %d: read of %d bytes at %d differs", i, len(got), at)
			}
		}
	})
	t.Run("a read past the end is short and says EOF", func(t *testing.T) {
		d := open(t)
		p := make([]byte, 1024)
		if n, err := d.ReadAt(p, d.Size()-512); n != 512 || !errors.Is(err, io.EOF) {
			t.Errorf("ReadAt = %d, %v; want 512, EOF", n, err)
		}
	})
	t.Run("a write past the end is refused whole", func(t *testing.T) {
		d := open(t)
		p := bytes.Repeat([]byte{7}, 1024)
		if _, err := d.WriteAt(p, d.Size()-512); !errors.Is(err, disk.ErrOutOfRange) {
			t.Errorf("WriteAt = %v; want ErrOutOfRange", err)
		}
		got := make([]byte, 512)
		if _, err := d.ReadAt(got, d.Size()-512); err != nil || !bytes.Equal(got, make([]byte, 512)) {
			t.Errorf("the end of the device changed, or: %v", err)
		}
	})
}
