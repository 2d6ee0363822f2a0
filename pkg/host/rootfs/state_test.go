package rootfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A check that reads a whole file system says so while it does; one that finds it clean
// has nothing to say.
func TestACheckSaysThatItGetsOn(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, tool := range []string{"mkfs.ext4", "debugfs", "e2fsck"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("BEFFROI_REQUIRE_TOOLS") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
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
