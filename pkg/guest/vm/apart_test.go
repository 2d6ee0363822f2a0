package vm_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/guest/vm"
	"beffroi.dev/pkg/host/cgroup"
	"beffroi.dev/pkg/host/cgroup/cgrouptest"
)

// The supervisor of guests that are apart is a user with few rights, as on an
// appliance: this test program again, in a group of its own.
const apartEnv = "BEFFROI_VM_TEST_APART"

const supervisorID, guestID = 4202, 104243

func apart(dir string) error {
	unix.Umask(0o007)
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	cfg := config(dir)
	cfg.Apart, cfg.Cgroups = true, vm.DetectCgroups(log)
	v, err := vm.Open(cfg, log)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := v.Start(ctx, spec()); err == nil {
		return fmt.Errorf("a guest that is apart was started as its supervisor's user")
	}
	s := spec()
	if _, err := os.Stat("/usr/share/OVMF/OVMF_VARS_4M.fd"); err == nil {
		s.Firmware, s.MemoryMB = qemu.UEFI, 128
	}
	if err := v.StartAs(ctx, s, vm.User{ID: guestID, Group: guestID, Groups: []uint32{4244}}); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	st, _ := v.Status()
	if err := inspect(st.PID, dir); err != nil {
		return err
	}
	if err := v.Close(); err != nil { // as at a restart of the service
		return err
	}
	if v, err = vm.Open(cfg, log); err != nil {
		return err
	}
	if err := v.Pause(ctx); err != nil { // its monitor is found again
		return fmt.Errorf("pause: %w", err)
	}
	if _, err := v.SerialTail(); err != nil {
		return err
	}
	nc, err := v.DialSerial(ctx)
	if err != nil {
		return err
	}
	if err := nc.Close(); err != nil {
		return err
	}
	if err := v.ForceOff(ctx); err != nil {
		return fmt.Errorf("off: %w", err)
	}
	// A second life uses what the first one left.
	if err := v.StartAs(ctx, s, vm.User{ID: guestID, Group: guestID}); err != nil {
		return fmt.Errorf("start again: %w", err)
	}
	if err := v.ForceOff(ctx); err != nil {
		return fmt.Errorf("off again: %w", err)
	}
	if err := v.Close(); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(dir, "live"))
}

// inspect looks at what QEMU is and what it may touch.
func inspect(pid int, dir string) error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	for _, want := range []string{fmt.Sprintf("Uid:\t%d\t", guestID), fmt.Sprintf("Gid:\t%d\t", guestID), "Groups:\t4244 ", "CapPrm:\t0000000000000000\n", "Seccomp:\t2\n"} {
		if !strings.Contains(string(b), want) {
			return fmt.Errorf("QEMU: %q is missing in %s", want, b)
		}
	}
	g, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(g), "/beffroi-vm-test\n") || strings.Contains(string(g), "/service/") {
		return fmt.Errorf("QEMU is in %s (%v); want a group beside the service's", g, err)
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		live := strings.Contains(path, "/live")
		if owned := st.Uid == guestID; owned != live || st.Mode&0o002 != 0 {
			return fmt.Errorf("%s is of %d, mode %o", path, st.Uid, st.Mode&0o7777)
		}
		return nil
	})
}

func TestAGuestThatIsApartIsAUserOfItsOwnAndMayTouchNothingElse(t *testing.T) {
	needQEMU(t)
	if os.Getuid() != 0 {
		t.Skip("only root can give rights away")
	}
	tree := cgrouptest.Folder(t)
	for _, g := range []string{tree, filepath.Join(tree, vm.ServiceGroup)} {
		if _, err := cgroup.Make(g, cgroup.Bounds{}); err != nil {
			t.Fatal(err)
		}
		if err := cgroup.Group(g).Delegate(supervisorID); err != nil {
			t.Fatal(err)
		}
	}
	group, err := cgroup.Group(filepath.Join(tree, vm.ServiceGroup)).File()
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	base := shortDir(t)
	dir, program := filepath.Join(base, "g"), filepath.Join(base, "p")
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Chmod(base, 0o711), os.Mkdir(dir, 0o711), os.Chown(dir, supervisorID, supervisorID), os.WriteFile(program, b, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), apartEnv+"="+dir, "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: supervisorID, Gid: supervisorID},
		AmbientCaps: []uintptr{unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_CHOWN, unix.CAP_KILL},
		UseCgroupFD: true, CgroupFD: int(group.Fd()),
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
