package disk_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/disktest"
	"beffroi.dev/pkg/disk/labdisk"
	"beffroi.dev/pkg/disk/simdisk"
)

func newFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := disk.CreateFile(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFile(t *testing.T) {
	disktest.Device(t, func(t *testing.T) disk.Device {
		f, err := disk.OpenFile(newFile(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	})
}

func TestSimulatedDisk(t *testing.T) {
	disktest.Device(t, func(*testing.T) disk.Device { return simdisk.New(1 << 20) })
}

func TestLabDisk(t *testing.T) {
	disktest.Device(t, func(*testing.T) disk.Device { return labdisk.New(simdisk.New(1<<20), 7) })
}

func TestALabDiskLosesAndTearsWhatWasNotSynced(t *testing.T) {
	lost, torn := 0, 0
	for seed := range uint64(40) {
		under := simdisk.New(1 << 20)
		d := labdisk.New(under, seed)
		fresh := bytes.Repeat([]byte{2}, 8192)
		_, _ = d.WriteAt(fresh, 0)
		got := make([]byte, 8192) // what a killed process leaves: the file without its memory
		_, _ = under.ReadAt(got, 0)
		switch n := bytes.Count(got, []byte{2}); {
		case n == 0:
			lost++
		case n < len(got):
			torn++
		}
	}
	if lost == 0 || torn == 0 {
		t.Errorf("lost %d and tore %d of 40 writes; want both", lost, torn)
	}
}

func TestAFileThroughAQueueAndBack(t *testing.T) {
	disktest.Device(t, func(t *testing.T) disk.Device {
		q := disk.NewQueue(t.Context(), simdisk.New(1<<20), 3)
		t.Cleanup(func() { _ = q.Close() })
		return disk.NewDevice(q)
	})
}

func TestASecondOwnerIsToldWhoHoldsTheDevice(t *testing.T) {
	path := newFile(t)
	f, err := disk.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = disk.OpenFile(path)
	if !errors.Is(err, disk.ErrLocked) || !strings.Contains(err.Error(), "held by process") {
		t.Errorf("second open: %v; want ErrLocked with the holder", err)
	}
}

func TestAPowerCutKeepsSyncedSectorsAndTearsTheRest(t *testing.T) {
	kept, lost := 0, 0
	for seed := range uint64(50) {
		d := simdisk.New(1 << 20)
		old, fresh := bytes.Repeat([]byte{1}, 8192), bytes.Repeat([]byte{2}, 8192)
		_, _ = d.WriteAt(old, 0)
		_ = d.Sync()
		_, _ = d.WriteAt(fresh, 0)
		d.Crash(rand.New(rand.NewPCG(seed, 0)))
		got := make([]byte, 8192)
		if _, err := d.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(got); i += disk.SectorSize {
			s := got[i : i+disk.SectorSize]
			switch {
			case bytes.Equal(s, old[:disk.SectorSize]):
				lost++
			case bytes.Equal(s, fresh[:disk.SectorSize]):
				kept++
			default:
				t.Fatalf("sector at %d is a mixture", i)
			}
		}
	}
	if kept == 0 || lost == 0 {
		t.Errorf("kept %d and lost %d sectors; want both", kept, lost)
	}
}

func TestAFailedSyncIsForEver(t *testing.T) {
	d := simdisk.New(1 << 20)
	d.FailAfter(1)
	if _, err := d.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := d.Sync(); !errors.Is(err, disk.ErrFailed) {
			t.Fatalf("Sync = %v; want ErrFailed", err)
		}
	}
}

func TestQueueOperations(t *testing.T) {
	q := disk.NewQueue(t.Context(), simdisk.New(1<<20), 2)
	defer q.Close()
	do := func(r disk.Request) error {
		done := make(chan struct{})
		r.Done = func(*disk.Request) { close(done) }
		q.Submit([]*disk.Request{&r})
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("no answer")
		}
		return r.Err
	}
	for _, tc := range []struct {
		name string
		r    disk.Request
		want error
	}{
		{"zeros", disk.Request{Op: disk.Zero, Off: 0, Len: 8192, Flags: disk.FUA}, nil},
		{"fast zeros cannot be had", disk.Request{Op: disk.Zero, Len: 512, Flags: disk.FastZero}, disk.ErrNotSupported},
		{"trim is advice", disk.Request{Op: disk.Trim, Len: 4096}, nil},
		{"status", disk.Request{Op: disk.Status, Len: 4096}, nil},
		{"out of range", disk.Request{Op: disk.Read, Off: 1 << 20, Len: 1, Data: make([]byte, 1)}, disk.ErrOutOfRange},
		{"unknown operation", disk.Request{Op: 99, Len: 1}, disk.ErrNotSupported},
	} {
		if err := do(tc.r); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v; want %v", tc.name, err, tc.want)
		}
	}
}
