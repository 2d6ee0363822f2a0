package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/seed"
	"beffroi.dev/pkg/host/layout"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/host/rootfs"
	"beffroi.dev/pkg/host/watchdog"
	"beffroi.dev/pkg/task"
)

// An image whose modules cannot be read boots on with what its kernel has: whoever
// asks for a module later is told that there is none.
func TestWithoutAListOfModulesLaterPhasesAreTold(t *testing.T) {
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "modules.list"), []byte("half\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"no folder": filepath.Join(broken, "none"), "a list that is none": broken} {
		tasks := task.New(t.Context())
		s := newSystem(config.Dir(t.TempDir()), Release{}, t.Output(), slog.New(slog.DiscardHandler), tasks)
		if err := s.modules.Load("ext4"); !errors.Is(err, rootfs.ErrNoModule) {
			t.Errorf("%s: before the phase: %v", name, err)
		}
		if err := s.openModules(dir); err == nil {
			t.Errorf("%s: it was read", name)
		}
		if err := s.modules.Load("ext4"); !errors.Is(err, rootfs.ErrNoModule) {
			t.Errorf("%s: after the phase: %v", name, err)
		}
		if faults := s.modules.Coldplug(t.TempDir()); len(faults) > 0 {
			t.Errorf("%s: %v", name, faults)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if err := s.watchDevices(ended); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := tasks.Stop(stopBound); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The fault that a reader is told is the one that explains the others.
func TestTheFaultOfAPhaseIsTheOneThatExplainsIt(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Fault
	}{
		{errors.New("odd"), ""},
		{fmt.Errorf("mount state: %w (fsck said much)", rootfs.ErrDamaged), "state-damaged"},
		{errors.Join(fmt.Errorf("/dev/vda: %w", layout.ErrTooSmall), rootfs.ErrNoPartition), "disk-too-small"},
		{fmt.Errorf("partition beffroi-state: %w", rootfs.ErrNoPartition), "disk-missing"},
		{fmt.Errorf("%w: json: unknown field", seed.ErrDamaged), "seed-damaged"},
		{errors.Join(fmt.Errorf("network: %w", netcfg.Fault{Role: "lan", Why: "there is no card #0"})), noPort},
		{errors.Join(nil, watchdog.ErrSoftware), "watchdog-software"},
		{errors.Join(fmt.Errorf("igb: %w", rootfs.ErrNoModule)), "driver-missing"},
	} {
		if got := faultOf(tt.err); got != tt.want {
			t.Errorf("%v: %q; want %q", tt.err, got, tt.want)
		}
	}
}
