package layout

import (
	"fmt"
	"io"
)

// Disk is what a table is written to: a device or a file.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Write writes the table, its copy first, for a disk of t.Sectors.
func (t Table) Write(d Disk) error {
	if err := t.check(); err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	entries, err := encodeEntries(t.Partitions)
	if err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	last := t.Sectors - 1
	for _, step := range []struct {
		what string
		at   uint64
		data []byte
	}{
		{"entries of the copy", last - entrySectors, entries},
		{"copy", last, t.encodeHeader(last, 1, last-entrySectors, entries)},
		{"entries", 2, entries},
		{"header", 1, t.encodeHeader(1, last, 2, entries)},
		{"protective table", 0, t.protective()},
	} {
		// Each step is durable before the next begins: a power cut damages one of
		// the two tables at most.
		if _, err := d.WriteAt(step.data, int64(step.at)*Sector); err != nil {
			return fmt.Errorf("layout: %s: %w", step.what, err)
		}
		if err := d.Sync(); err != nil {
			return fmt.Errorf("layout: %s: %w", step.what, err)
		}
	}
	return nil
}

// Grow moves the table's copy to the end of a disk of size bytes and gives the
// last partition, which must be the store, all that lies behind it. It reports
// whether anything had to be changed; a damaged table at the start is mended.
func Grow(d Disk, size int64) (bool, error) {
	t, err := Read(d, size)
	if err != nil {
		return false, fmt.Errorf("layout: %w", err)
	}
	last := -1
	for i, p := range t.Partitions {
		if last < 0 || p.Last > t.Partitions[last].Last {
			last = i
		}
	}
	if last < 0 || t.Partitions[last].Type != TypeStore {
		return false, fmt.Errorf("layout: the store is not the disk's last partition")
	}
	sectors := uint64(size) / Sector
	end := (lastUsable(sectors)+1)/align*align - 1
	store := &t.Partitions[last]
	if end <= store.Last && sectors == t.Sectors && !t.PrimaryLost && t.copySound(d) {
		return false, nil
	}
	t.Sectors = sectors
	store.Last = max(end, store.Last)
	return true, t.Write(d)
}

// copySound reports whether the copy at the disk's end is there and says the same.
func (t Table) copySound(d Disk) bool {
	c, err := readAt(d, t.Sectors-1, t.Sectors)
	if err != nil || c.Disk != t.Disk || len(c.Partitions) != len(t.Partitions) {
		return false
	}
	for i := range c.Partitions {
		if c.Partitions[i] != t.Partitions[i] {
			return false
		}
	}
	return true
}
