// Package cgrouptest finds a place for control groups in tests.
package cgrouptest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/host/cgroup"
)

// Folder is a new group of the test's own, removed with all its processes at the
// end. Without a writable tree of the second version the test is skipped.
func Folder(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != "cgroup2" {
			continue
		}
		dir := filepath.Join(f[1], "beffroi-test-"+strconv.Itoa(os.Getpid())+"-"+strconv.FormatInt(time.Now().UnixNano(), 36))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { clear(t, dir) })
		return dir
	}
	t.Skip("no writable control groups of the second version here")
	return ""
}

func clear(t *testing.T, dir string) {
	if err := cgroup.Group(dir).Kill(); err != nil {
		t.Error(err)
	}
	var folders []string
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			folders = append(folders, p)
		}
		return nil
	})
	for i := len(folders) - 1; i >= 0; i-- {
		if err := cgroup.Group(folders[i]).Remove(10 * time.Second); err != nil {
			t.Error(err)
		}
	}
}
