package vm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAStartTimeIsFoundBehindAnyName(t *testing.T) {
	tests := []struct {
		name string
		stat string
		want uint64
		ok   bool
	}{
		{"an ordinary name", "12 (qemu) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 1 2", 987654, true},
		{"brackets and spaces in it", "12 (a) S 1 (b) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 55 1 2", 55, true},
		{"too few fields", "12 (qemu) S 1 12", 0, false},
		{"no brackets", "12 qemu", 0, false},
		{"no number", "12 (qemu) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 x 1 2", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStartTime([]byte(tt.stat))
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("parseStartTime = %d, %v; want %d, ok %v", got, err, tt.want, tt.ok)
			}
		})
	}
	if got, err := startTime(os.Getpid()); err != nil || got == 0 {
		t.Errorf("our own start time = %d, %v", got, err)
	}
}

func FuzzStartTime(f *testing.F) {
	f.Add([]byte("12 (qemu) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 1 2"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := parseStartTime(b); err != nil && v != 0 {
			t.Fatalf("%d with %v", v, err)
		}
	})
}

func FuzzRunFile(f *testing.F) {
	f.Add([]byte(`{"version": 1, "pid": 12, "start_time": 2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decode(b); err == nil && (r.Version != runVersion || r.PID <= 1 || r.StartTime == 0) {
			t.Fatalf("decode = %+v", r)
		}
	})
}

func TestControlGroupsOfBothVersionsAreLookedFor(t *testing.T) {
	own := "8:pids:/a\n4:memory:/m\n1:cpu,cpuacct:/c\n0::/u\nnonsense\n"
	old := t.TempDir()
	got, v2 := candidates(old, own)
	if diff := cmp.Diff([]string{old + "/pids/a", old + "/cpu,cpuacct/c"}, got); diff != "" || v2 {
		t.Errorf("version 1 (-want +got):\n%s", diff)
	}
	unified := t.TempDir()
	if err := os.WriteFile(filepath.Join(unified, "cgroup.controllers"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, v2 = candidates(unified, own)
	if diff := cmp.Diff([]string{unified + "/u"}, got); diff != "" || !v2 {
		t.Errorf("version 2 (-want +got):\n%s", diff)
	}
	if got := writable([]string{filepath.Join(old, "absent"), old}); len(got) != 1 || got[0] != old {
		t.Errorf("writable = %v; want the one that is", got)
	}
}

func TestAStoppedProcessIsNotSignalled(t *testing.T) {
	if p, err := watch(os.Getpid(), 1); err == nil {
		p.release()
		t.Error("a process with another start time was taken for ours")
	}
}
