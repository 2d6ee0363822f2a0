package store

import (
	"errors"
	"fmt"
	"sync"

	"beffroi.dev/pkg/disk"
)

// volume is the device with its layout: it owns the superblock, the sizes and
// the one failure from which only a fresh Open recovers.
type volume struct {
	dev   disk.Device
	space space

	order sync.Mutex // held over a superblock write and its sync; guards saved
	saved superblock // the newest one that is durable

	mu     sync.Mutex // guards all below; never held during I/O
	super  superblock // sizes as they are now
	failed error
	frozen bool // Format has not written a superblock yet: sizes stay in memory
}

// readSuper reads both slots without changing anything.
func readSuper(dev disk.Device) (superblock, error) {
	if dev.Size() < minDevice {
		return superblock{}, fmt.Errorf("%w: %d bytes, need at least %d", disk.ErrNoSpace, dev.Size(), minDevice)
	}
	b := disk.Aligned(slotCount * disk.BlockSize)
	if _, err := dev.ReadAt(b, 0); err != nil {
		return superblock{}, fmt.Errorf("read superblocks: %w", err)
	}
	return chooseSuperblock(b)
}

func newVolume(dev disk.Device, s superblock) *volume {
	v := &volume{dev: dev, super: s, saved: s}
	v.space.len = s.PoolLen
	v.space.limit = s.Database
	return v
}

// check returns the failure of the volume, if it has failed.
func (v *volume) check() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failed
}

// fail makes err the fate of the volume. A full device is not a failure: what
// could not be written was refused, and nothing else changed.
func (v *volume) fail(what string, err error) error {
	if errors.Is(err, disk.ErrNoSpace) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return v.failHard(what, err)
}

func (v *volume) failHard(what string, err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failed == nil {
		v.failed = fmt.Errorf("%s: %w: %w", what, disk.ErrFailed, err)
	}
	return v.failed
}

// read fills p from off. Reading does not fail the volume: a block that cannot
// be repaired says nothing about the others.
func (v *volume) read(p []byte, off int64) error {
	if err := v.check(); err != nil {
		return err
	}
	if _, err := v.dev.ReadAt(p, off); err != nil {
		return fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
	}
	return nil
}

// write puts whole blocks.
func (v *volume) write(p []byte, off int64) error {
	if err := v.check(); err != nil {
		return err
	}
	if _, err := v.dev.WriteAt(p, off); err != nil {
		return v.fail(fmt.Sprintf("write %d bytes at %d", len(p), off), err)
	}
	return nil
}

// setSizes changes the sizes in memory; the next sync records them.
func (v *volume) setSizes(change func(*superblock)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(&v.super)
}

func (v *volume) databaseSize() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.super.Database
}

// sync makes every write that returned before durable, together with the sizes
// they need. Superblocks are written in order and never without a sync between
// two of them, so that a power cut can tear at most one slot.
func (v *volume) sync() error {
	v.order.Lock()
	defer v.order.Unlock()
	v.mu.Lock()
	next, failed, frozen := v.super, v.failed, v.frozen
	v.mu.Unlock()
	if failed != nil {
		return failed
	}
	next.Generation = v.saved.Generation
	if next != v.saved && !frozen {
		next.Generation++
		if _, err := v.dev.WriteAt(next.encode(), int64(next.Generation%slotCount)*disk.BlockSize); err != nil {
			return v.fail("write superblock", err) // when only full, the other slot still holds
		}
	}
	if err := v.dev.Sync(); err != nil {
		// Not through fail: a sync that did not happen is a failure, whatever the reason.
		return v.failHard("sync", err)
	}
	if !frozen {
		v.saved = next
	}
	return nil
}
