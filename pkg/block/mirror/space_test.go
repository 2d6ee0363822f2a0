package mirror_test

import (
	"errors"
	"testing"

	"beffroi.dev/pkg/block/mirror"
	"beffroi.dev/pkg/block/seglog"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/simdisk"
	"beffroi.dev/pkg/ident"
)

func freshSolo(t *testing.T) (*solo, *simdisk.Disk) {
	t.Helper()
	d := simdisk.New(seglog.MinSize)
	if err := seglog.Format(d, seglog.Identity{Pair: soloPair, Replica: ident.UUID{9}}, 42); err != nil {
		t.Fatal(err)
	}
	s, err := openSolo(t, d)
	if err != nil {
		t.Fatal(err)
	}
	s.configure(1)
	s.work()
	return s, d
}

// TestAFullStoreSaysSoAndStaysHealthy fills a store with blocks that are never
// overwritten, as a disk image copied in would.
func TestAFullStoreSaysSoAndStaysHealthy(t *testing.T) {
	s, d := freshSolo(t)
	volume := int64(seglog.MinSize)
	s.core.Configure([]mirror.GroupSpec{bigGroup(volume)}, soloGroup+1)
	chunk := make([]byte, 1<<20)
	off, full := int64(0), false
	for ; off+int64(len(chunk)) <= volume && !full; off += int64(len(chunk)) {
		r := s.submit(&disk.Request{Op: disk.Write, Off: off, Len: int64(len(chunk)), Data: chunk})
		s.work()
		if full = errors.Is(r.Err, disk.ErrNoSpace); !full && r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if !full {
		t.Fatal("a store took more than its device holds")
	}
	if err := s.submit(&disk.Request{Op: disk.Read, Off: 0, Len: 4096, Data: make([]byte, 4096)}); err.Err != nil {
		t.Errorf("read on a full store: %v", err.Err)
	}
	s.work()
	trim := s.submit(&disk.Request{Op: disk.Trim, Off: 0, Len: off / 2})
	s.work()
	if trim.Err != nil {
		t.Fatalf("trim on a full store: %v", trim.Err)
	}
	for range 60 { // checkpoints give the trimmed segments back
		s.submit(&disk.Request{Op: disk.Trim, Off: 0, Len: 4096})
		s.work()
	}
	again := s.submit(&disk.Request{Op: disk.Write, Off: 0, Len: 4096, Data: make([]byte, 4096)})
	s.work()
	if again.Err != nil {
		t.Errorf("write after space was freed: %v", again.Err)
	}
	if _, err := openSolo(t, d); err != nil {
		t.Errorf("the store does not open again: %v", err)
	}
}

func TestAFailedSyncEndsTheStoreAndNothingIsAcknowledged(t *testing.T) {
	s, d := freshSolo(t)
	d.FailAfter(1) // the write goes through, the sync does not
	answered := false
	r := &disk.Request{Op: disk.Write, Len: 4096, Data: make([]byte, 4096), Done: func(*disk.Request) { answered = true }}
	s.submit(r)
	s.work()
	if answered && r.Err == nil {
		t.Fatal("a write was acknowledged although its sync failed")
	}
	if s.core.Failed() == nil {
		t.Fatal("the failed device is still used")
	}
	if st, _ := s.core.Status(soloGroup); st.Serving {
		t.Error("the group is still served from a failed device")
	}
	s.now = s.now.Add(soloConfig().Timing.Hold * 2)
	s.core.Tick(s.now)
	s.work()
	if !answered || !errors.Is(r.Err, disk.ErrTimeout) {
		t.Errorf("the undecided write ended with %v; want ErrTimeout", r.Err)
	}
}

func TestRequestsOutsideTheRulesAreRefused(t *testing.T) {
	s, _ := freshSolo(t)
	for _, tc := range []struct {
		name string
		r    disk.Request
		want error
	}{
		{"past the end", disk.Request{Op: disk.Read, Off: soloSize, Len: 1, Data: make([]byte, 1)}, disk.ErrOutOfRange},
		{"unknown operation", disk.Request{Op: 77, Len: 4096}, disk.ErrNotSupported},
	} {
		r := s.submit(&tc.r)
		s.work()
		if !errors.Is(r.Err, tc.want) {
			t.Errorf("%s: %v; want %v", tc.name, r.Err, tc.want)
		}
	}
}
