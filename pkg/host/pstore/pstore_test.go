package pstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/host/pstore"
)

var now = time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)

func leave(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
	}
}

// Init has the kernel panic when it must not feed the watchdog: the cause is what init
// said, not how the kernel was told to.
func TestTheCauseOfAPanicThatInitAskedForIsInits(t *testing.T) {
	from := t.TempDir()
	leave(t, from, map[string]string{
		"dmesg-efi-1": "<2>[ 341.0] beffroi: the watchdog is not fed, the machine will be reset: phase disk has not got on for 5m1s\n" +
			"<6>[ 365.0] sysrq: Trigger a crash\n<0>[ 365.1] Kernel panic - not syncing: sysrq triggered crash\n",
	})
	d, err := pstore.Collect(from, t.TempDir(), now)
	if want := "the watchdog is not fed, the machine will be reset: phase disk has not got on for 5m1s"; err != nil || d.Words != want {
		t.Errorf("Collect = %+v, %v; want %q", d, err, want)
	}
}

func TestWhatAKernelLeftIsMovedAndTold(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "logs", "kernel")
	leave(t, from, map[string]string{
		"dmesg-efi-1": "Panic#2 Part1\n<6>[   12.0] eth0: up\n<0>[   14.2] Kernel panic - not syncing: softlockup: hung tasks\x1b[2J\n<4>[ 14.3] Call Trace:\n",
		"dmesg-efi-2": "<6>[ 1.0] something before\n",
		"dmesg-efi-3": "<4>[ 0.5] watchdog: Perf NMI watchdog permanently disabled\n",
		"dmesg-efi-4": "<1>[ 14.1] BUG: soft lockup\n",
	})
	d, err := pstore.Collect(from, to, now)
	if err != nil || d.Records != 4 || d.Words != "Kernel panic - not syncing: softlockup: hung tasks [2J" {
		t.Errorf("Collect = %+v, %v", d, err)
	}
	if left, _ := os.ReadDir(from); len(left) != 0 {
		t.Errorf("%d records are left", len(left))
	}
	b, err := os.ReadFile(filepath.Join(to, "20261125-030000-dmesg-efi-2"))
	if err != nil || !strings.Contains(string(b), "something before") {
		t.Errorf("kept: %q, %v", b, err)
	}
	if d, err := pstore.Collect(from, to, now); err != nil || d.Records != 0 {
		t.Errorf("again: %+v, %v", d, err)
	}
	if d, err := pstore.Collect(filepath.Join(from, "no"), to, now); err != nil || d.Records != 0 {
		t.Errorf("without such a file system: %+v, %v", d, err)
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for day := range 3 {
		files := map[string]string{}
		for i := range 20 {
			files[fmt.Sprint("dmesg-", i)] = strings.Repeat("x", 10)
		}
		leave(t, from, files)
		if _, err := pstore.Collect(from, to, now.AddDate(0, 0, day)); err != nil {
			t.Fatal(err)
		}
	}
	left, _ := os.ReadDir(to)
	if len(left) != pstore.Keep || !strings.HasPrefix(left[len(left)-1].Name(), "20261127") {
		t.Errorf("%d records are kept", len(left))
	}
}

func TestARecordThatCannotBeKeptStays(t *testing.T) {
	from := t.TempDir()
	leave(t, from, map[string]string{"dmesg-1": "Oops: 0002\n"})
	blocked := filepath.Join(t.TempDir(), "file")
	leave(t, filepath.Dir(blocked), map[string]string{"file": ""})
	if _, err := pstore.Collect(from, blocked, now); err == nil {
		t.Error("no error")
	}
	if left, _ := os.ReadDir(from); len(left) != 1 {
		t.Error("the record is gone")
	}
}

func FuzzWords(f *testing.F) {
	f.Add([]byte("<0>[1.0] Kernel panic - not syncing\n"))
	f.Add([]byte("\x00\xff\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		from := t.TempDir()
		if err := os.WriteFile(filepath.Join(from, "r"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := pstore.Collect(from, t.TempDir(), now)
		if err != nil || d.Records != 1 || len([]rune(d.Words)) > 160 || strings.ContainsAny(d.Words, "\x1b\n\x00\r") {
			t.Fatalf("%+v, %v", d, err)
		}
	})
}
