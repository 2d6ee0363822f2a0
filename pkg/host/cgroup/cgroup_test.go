package cgroup_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/pkg/host/cgroup"
	"beffroi.dev/pkg/host/cgroup/cgrouptest"
)

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func empty(t *testing.T, g cgroup.Group) bool {
	ok, err := g.Empty()
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestAGrandchildDiesWithItsGroup(t *testing.T) {
	folder := filepath.Join(cgrouptest.Folder(t), "svc")
	g, err := cgroup.Make(folder, cgroup.Bounds{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := g.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("/bin/sh", "-c", "setsid sleep 300 & echo $!; exec sleep 300")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	grandchild, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	procs, _ := os.ReadFile(filepath.Join(folder, "cgroup.procs"))
	if empty(t, g) || !strings.Contains(string(procs), strconv.Itoa(grandchild)) {
		t.Errorf("group holds %q; want the grandchild %d", procs, grandchild)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	await(t, "the group's end", func() bool { return empty(t, g) })
	if err := g.Remove(10 * time.Second); err != nil {
		t.Error(err)
	}
	if err := g.Kill(); err != nil {
		t.Errorf("to kill a group that is gone: %v", err)
	}
}

func TestABoundThatCannotBeIsToldAndTheGroupIsMade(t *testing.T) {
	folder := filepath.Join(cgrouptest.Folder(t), "svc") // the group above shares no controllers
	g, err := cgroup.Make(folder, cgroup.Bounds{Memory: 1 << 30})
	if err == nil {
		t.Error("no error")
	}
	if !empty(t, g) {
		t.Error("not empty")
	}
	if _, err := os.Stat(folder); err != nil {
		t.Error(err)
	}
}
