package rootfs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A partition is blank only if it is: what was wiped at its beginning is not made anew
// while a copy of its superblock says that there was something, but repaired from there.
func TestAWipedBeginningIsNotABlankPartition(t *testing.T) {
	e2fsprogs(t)
	for _, size := range []int64{64 << 20, 256 << 20} { // blocks of 1 and of 4 KiB
		file := filepath.Join(t.TempDir(), "state")
		blank := func(want bool) {
			t.Helper()
			if got, err := isBlank(file); err != nil || got != want {
				t.Errorf("%d MB: blank = %v, %v; want %v", size>>20, got, err, want)
			}
		}
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size)); err != nil {
			t.Fatal(err)
		}
		blank(true)
		if out, err := run(t.Context(), "mkfs.ext4", "-q", "-F", "-b", map[bool]string{true: "1024", false: "4096"}[size < 128<<20], file); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		blank(false)
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt(make([]byte, blankBytes), 0)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		blank(false)
	}
}

// e2fsprogs are what this package runs.
func e2fsprogs(t *testing.T) {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, tool := range []string{"mkfs.ext4", "debugfs", "e2fsck"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("BEFFROI_REQUIRE_TOOLS") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// A check that reads a whole file system says so while it does; one that finds it clean
// has nothing to say.
func TestACheckSaysThatItGetsOn(t *testing.T) {
	e2fsprogs(t)
	file := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	do := func(name string, args ...string) {
		t.Helper()
		if out, err := run(t.Context(), name, args...); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	moved := 0
	look := func() int {
		t.Helper()
		moved = 0
		if err := check(t.Context(), file, func() { moved++ }); err != nil {
			t.Fatal(err)
		}
		return moved
	}
	do("mkfs.ext4", "-q", "-F", file)
	if n := look(); n != 0 {
		t.Errorf("a clean file system: %d signs", n)
	}
	do("debugfs", "-w", "-R", "set_super_value state 0", file)
	if n := look(); n == 0 {
		t.Error("a file system that is checked whole gave no sign")
	}
}
