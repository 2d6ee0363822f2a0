package vm_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/guest/vm"
)

const helperEnv = "BEFFROI_VM_TEST_SUPERVISOR"

// TestMain lets the test program be a supervisor that a test can kill.
func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		v, err := vm.Open(config(dir), slog.New(slog.DiscardHandler))
		if err == nil {
			err = v.Start(context.Background(), spec())
		}
		fmt.Println("started:", err)
		time.Sleep(time.Minute) // to be killed
		os.Exit(1)
	}
	if dir := os.Getenv(apartEnv); dir != "" {
		if err := apart(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func needQEMU(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("BEFFROI_REQUIRE_TOOLS") == "1" {
			t.Fatalf("QEMU is required: %v", err)
		}
		t.Skip("qemu-system-x86_64 is not installed")
	}
}

func config(dir string) vm.Config {
	return vm.Config{Name: "test", Dir: dir, ShutdownWait: 300 * time.Millisecond, SerialKeep: 4096}
}

// spec is a guest without a disk: its BIOS looks for one for ever.
func spec() qemu.Spec {
	return qemu.Spec{Name: "test", UUID: "0b5e1f6e-7a3c-4d1e-9a77-0123456789ab", CPUs: 1, MemoryMB: 32, Firmware: qemu.BIOS, Accel: qemu.TCG}
}

func open(t *testing.T, cfg vm.Config) *vm.VM {
	t.Helper()
	v, err := vm.Open(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = v.ForceOff(context.Background())
		if err := v.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return v
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// await waits for a state.
func await(t *testing.T, v *vm.VM, want vm.State) vm.Status {
	t.Helper()
	end := time.After(20 * time.Second)
	for {
		s, changed := v.Status()
		if s.State == want {
			return s
		}
		select {
		case <-changed:
		case <-end:
			t.Fatalf("state %s (%s); want %s", s.State, s.Cause, want)
		}
	}
}

func TestALifeWithAllItsRequests(t *testing.T) {
	needQEMU(t)
	ctx := context.Background()
	groups := vm.DetectCgroups(slog.New(slog.NewTextHandler(t.Output(), nil)))
	cfg := config(shortDir(t))
	cfg.Cgroups = groups
	v := open(t, cfg)
	if err := v.Pause(ctx); !errors.Is(err, vm.ErrDenied) {
		t.Errorf("Pause of a stopped VM = %v; want ErrDenied", err)
	}
	if err := v.Start(ctx, spec()); err != nil {
		t.Fatal(err)
	}
	s := await(t, v, vm.Running)
	if sid, err := unix.Getsid(s.PID); err != nil || sid != s.PID {
		t.Errorf("QEMU is in session %d (%v); want its own", sid, err)
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", s.PID)); groups.Enabled() && !strings.Contains(string(b), "/beffroi-vm-test") {
		t.Errorf("QEMU is in the groups %s (%v); want its own", b, err)
	}
	steps := []struct {
		name string
		do   func(context.Context) error
		want vm.State
	}{
		{"pause", v.Pause, vm.Paused}, {"pause again", v.Pause, vm.Paused}, {"continue", v.Continue, vm.Paused},
		{"resume", v.Resume, vm.Running}, {"continue", v.Continue, vm.Running},
	}
	for _, step := range steps {
		if err := step.do(ctx); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if s, _ := v.Status(); s.State != step.want {
			t.Errorf("after %s it is %s; want %s", step.name, s.State, step.want)
		}
	}
	if err := v.ShutDown(ctx); !errors.Is(err, vm.ErrObeysNot) {
		t.Errorf("ShutDown of a deaf guest = %v; want ErrObeysNot", err)
	}
	await(t, v, vm.Running)
	if err := v.ForceOff(ctx); err != nil {
		t.Error(err)
	}
	if s, _ := v.Status(); s.State != vm.Stopped || s.PID != 0 || len(s.History) < 6 {
		t.Errorf("after ForceOff: %+v", s)
	}
	if b, err := v.SerialTail(); err != nil || !strings.Contains(string(b), "SeaBIOS") {
		t.Errorf("the serial log holds %q (%v); want SeaBIOS' greeting", b, err)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/beffroi-vm-test"); len(left) > 0 {
		t.Errorf("control groups are left: %v", left)
	}
}

func TestQemuOutlivesItsSupervisorAndIsFoundAgain(t *testing.T) {
	needQEMU(t)
	dir := shortDir(t)
	helper := exec.Command(os.Args[0])
	helper.Env = append(os.Environ(), helperEnv+"="+dir)
	helper.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	out, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "started: <nil>\n" {
		t.Fatalf("supervisor: %q (%v)", line, err)
	}
	_ = unix.Kill(-helper.Process.Pid, unix.SIGKILL) // and its whole group
	_ = helper.Wait()

	v := open(t, config(dir))
	pid := await(t, v, vm.Running).PID
	if err := v.Start(context.Background(), spec()); err != nil { // ignored: it runs
		t.Error(err)
	}
	if s, _ := v.Status(); s.PID != pid {
		t.Errorf("a second QEMU was started: %d after %d", s.PID, pid)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	// The run file is lost: the lock and the monitor still lead to the process.
	if err := os.Remove(filepath.Join(dir, "run.json")); err != nil {
		t.Fatal(err)
	}
	v = open(t, config(dir))
	if s := await(t, v, vm.Running); s.PID != pid {
		t.Errorf("found %d; want %d", s.PID, pid)
	}
	if err := v.ForceOff(context.Background()); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(pid, 0); err == nil {
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); !strings.Contains(string(b), ") Z ") {
			t.Errorf("QEMU %d is alive after ForceOff", pid)
		}
	}
}

func TestAQemuThatDiesIsAFailureWithItsWords(t *testing.T) {
	needQEMU(t)
	v := open(t, config(shortDir(t)))
	if err := v.Start(context.Background(), spec()); err != nil {
		t.Fatal(err)
	}
	s, _ := v.Status()
	_ = unix.Kill(s.PID, unix.SIGKILL)
	if s := await(t, v, vm.Failed); !strings.Contains(s.Cause, "killed") {
		t.Errorf("cause %q; want the signal", s.Cause)
	}
	if err := v.Start(context.Background(), spec()); err != nil {
		t.Errorf("a failed VM does not start again: %v", err)
	}
	if err := v.ForceOff(context.Background()); err != nil {
		t.Error(err)
	}
	bad := spec()
	bad.CPUs, bad.MemoryMB = 1, 1<<20 // allowed, and more than this machine has
	bad.Disks = []qemu.Disk{{Socket: "/nonexistent/socket", Export: "v"}}
	cfg := config(shortDir(t))
	cfg.StartWait = 500 * time.Millisecond
	v = open(t, cfg)
	if err := v.Start(context.Background(), bad); err == nil {
		t.Error("a VM without its disk started")
	}
	if s, _ := v.Status(); s.State != vm.Failed {
		t.Errorf("it is %s; want failed", s.State)
	}
}

func TestTheSerialLogIsBoundedAndKeepsItsEnd(t *testing.T) {
	needQEMU(t)
	dir := shortDir(t)
	v := open(t, config(dir))
	if err := v.Start(context.Background(), spec()); err != nil {
		t.Fatal(err)
	}
	if err := v.Pause(context.Background()); err != nil { // the BIOS has more to say
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "serial.log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 2000 { // as QEMU would append
		_, _ = fmt.Fprintf(f, "line %d\n", i)
	}
	nc, err := v.DialSerial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
	if err := v.ForceOff(context.Background()); err != nil { // which bounds it
		t.Fatal(err)
	}
	b, err := v.SerialTail()
	if err != nil || len(b) > 4096 || !strings.HasSuffix(string(b), "line 1999\n") {
		t.Errorf("the tail has %d bytes and ends %q (%v)", len(b), b[max(0, len(b)-20):], err)
	}
	if st, err := os.Stat(filepath.Join(dir, "serial.log")); err != nil || st.Size() > 8192 {
		t.Errorf("the log has %d bytes (%v)", st.Size(), err)
	}
}

func TestAGuestBootsUnderUEFI(t *testing.T) {
	needQEMU(t)
	if _, err := os.Stat("/usr/share/OVMF/OVMF_VARS_4M.fd"); err != nil {
		if os.Getenv("BEFFROI_REQUIRE_TOOLS") == "1" {
			t.Fatalf("OVMF is required: %v", err)
		}
		t.Skip("OVMF is not installed")
	}
	v := open(t, config(shortDir(t)))
	s := spec()
	s.Firmware, s.MemoryMB = qemu.UEFI, 128
	if err := v.Start(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		b, err := v.SerialTail()
		if strings.Contains(string(b), "BdsDxe") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the firmware said %q (%v)", b, err)
		}
	}
}

// After a power cut the file may be empty on some file systems; no QEMU lives then.
func TestARunFileThatNobodyCanReadNamesNobodyWhenTheLockIsFree(t *testing.T) {
	for _, content := range []string{"", "{"} {
		dir := shortDir(t)
		if err := os.WriteFile(filepath.Join(dir, "run.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := vm.Open(config(dir), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if s, _ := v.Status(); s.State != vm.Stopped {
			t.Errorf("it is %s; want stopped", s.State)
		}
		_ = v.Close()
	}
}

func TestARunFileThatIsNotOursIsRefusedWhileSomebodyHoldsTheLock(t *testing.T) {
	for name, content := range map[string]string{"garbage": "{", "a newer version": `{"version": 99}`} {
		dir := shortDir(t)
		if err := os.WriteFile(filepath.Join(dir, "run.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		lock, err := os.Create(filepath.Join(dir, "run.lock"))
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		if v, err := vm.Open(config(dir), slog.New(slog.NewTextHandler(io.Discard, nil))); err == nil {
			_ = v.Close()
			t.Errorf("%s: accepted", name)
		}
		if b, _ := os.ReadFile(filepath.Join(dir, "run.json")); string(b) != content {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

func TestAnotherProcessWithTheSameNumberIsNotTaken(t *testing.T) {
	dir := shortDir(t)
	run := fmt.Sprintf(`{"version": 1, "pid": %d, "start_time": 1}`, os.Getpid())
	if err := os.WriteFile(filepath.Join(dir, "run.json"), []byte(run), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := vm.Open(config(dir), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if s, _ := v.Status(); s.State != vm.Stopped {
		t.Errorf("it is %s; want stopped", s.State)
	}
}
