package layout

import (
	"errors"
	"fmt"
)

// Sector is the only size of sector that is understood.
const Sector = 512

const (
	align        = 1 << 20 / Sector // partitions begin and end at whole mebibytes
	entrySize    = 128
	entryCount   = 128
	entrySectors = entryCount * entrySize / Sector
	firstUsable  = 2 + entrySectors
)

// Partition is one entry of a table.
type Partition struct {
	Number     int // counted from 1, as the kernel counts
	Type, ID   GUID
	First      uint64 // sector
	Last       uint64 // sector, the last that belongs to it
	Attributes uint64
	Name       string
}

// Offset is where the partition begins, in bytes.
func (p Partition) Offset() int64 { return int64(p.First) * Sector }

// Size is its length in bytes.
func (p Partition) Size() int64 { return int64(p.Last-p.First+1) * Sector }

// Table is the partition table of one disk.
type Table struct {
	Disk       GUID
	Partitions []Partition // by number
	Sectors    uint64      // of the disk that the table was written for
	// PrimaryLost tells that the table at the disk's start was damaged and this is
	// the copy at its end.
	PrimaryLost bool
}

// Find returns the first partition of a type.
func (t Table) Find(kind GUID) (Partition, bool) {
	for _, p := range t.Partitions {
		if p.Type == kind {
			return p, true
		}
	}
	return Partition{}, false
}

// Config says how large an image's partitions are.
type Config struct {
	Version                 string // the disk's identities are derived from it
	ESP, Seed, State, Store int64  // bytes, whole mebibytes
}

// Default is the layout of the images we ship.
func Default(version string) Config {
	return Config{Version: version, ESP: 256 << 20, Seed: 4 << 20, State: 512 << 20, Store: 64 << 20}
}

// Validate reports what is wrong with the sizes.
func (c Config) Validate() error {
	if c.Version == "" {
		return errors.New("layout: no version")
	}
	for _, size := range []int64{c.ESP, c.Seed, c.State, c.Store} {
		if size <= 0 || size%(align*Sector) != 0 || size > 1<<40 {
			return fmt.Errorf("layout: a partition of %d bytes: want whole mebibytes", size)
		}
	}
	return nil
}

// Plan lays the partitions out, one after the other from the first mebibyte.
func (c Config) Plan() (Table, error) {
	if err := c.Validate(); err != nil {
		return Table{}, err
	}
	t := Table{Disk: derive("disk " + c.Version)}
	at := uint64(align)
	for i, p := range []struct {
		kind GUID
		name string
		size int64
	}{{TypeESP, "ESP", c.ESP}, {TypeSeed, "beffroi-seed", c.Seed}, {TypeState, "beffroi-state", c.State}, {TypeStore, "beffroi-store", c.Store}} {
		n := uint64(p.size / Sector)
		t.Partitions = append(t.Partitions, Partition{Number: i + 1, Type: p.kind, ID: derive(p.name + " " + c.Version),
			First: at, Last: at + n - 1, Name: p.name})
		at += n
	}
	t.Sectors = at + align
	return t, nil
}

// Bytes is the size of the disk that the table was written for.
func (t Table) Bytes() int64 { return int64(t.Sectors) * Sector }

// lastUsable is the last sector that a partition of this disk may have.
func lastUsable(sectors uint64) uint64 { return sectors - 2 - entrySectors }

// check reports a table that lies outside of its disk or overlaps.
func (t Table) check() error {
	if t.Sectors < firstUsable+entrySectors+2 {
		return fmt.Errorf("a disk of %d sectors is too small for a table", t.Sectors)
	}
	for i, p := range t.Partitions {
		if p.First < firstUsable || p.Last < p.First || p.Last > lastUsable(t.Sectors) {
			return fmt.Errorf("partition %d has sectors %d to %d of %d", p.Number, p.First, p.Last, t.Sectors)
		}
		for _, q := range t.Partitions[:i] {
			if p.First <= q.Last && q.First <= p.Last {
				return fmt.Errorf("partitions %d and %d overlap", q.Number, p.Number)
			}
		}
	}
	return nil
}
