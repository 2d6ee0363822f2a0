package accel

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"beffroi.dev/pkg/guest/qemu"
)

func needQEMU(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("BEFFROI_REQUIRE_TOOLS") == "1" {
			t.Fatalf("QEMU is required: %v", err)
		}
		t.Skip("qemu-system-x86_64 is not installed")
	}
}

func TestTheProbeGuestRunsUnderEmulation(t *testing.T) {
	needQEMU(t)
	if err := New("").try(context.Background(), qemu.TCG); err != nil {
		t.Errorf("the probe guest does not even run under TCG: %v", err)
	}
}

func TestTheAnswerComesInTimeAndIsRemembered(t *testing.T) {
	needQEMU(t)
	p := New("")
	start := time.Now()
	first := p.Probe(context.Background())
	if d := time.Since(start); d > deadline+2*time.Second {
		t.Errorf("the probe took %v", d)
	}
	t.Logf("%s (%s)", first.Accel, first.Reason)
	if (first.Accel == qemu.KVM) != (first.Reason == "") {
		t.Errorf("answer %+v; want a reason exactly when it is not KVM", first)
	}
	start = time.Now()
	if again := p.Probe(context.Background()); again != first || time.Since(start) > time.Millisecond {
		t.Errorf("second answer %+v after %v; want the first at once", again, time.Since(start))
	}
}

func TestAMissingQemuMeansEmulationWithAReason(t *testing.T) {
	if a := New("/nonexistent/qemu").Probe(context.Background()); a.Accel != qemu.TCG || a.Reason == "" {
		t.Errorf("answer %+v; want TCG and a reason", a)
	}
}

func TestAnEmulatedProcessorIsKnownByItsName(t *testing.T) {
	for info, want := range map[string]bool{
		"processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: QEMU TCG CPU version 2.5+\nstepping\t: 3\n": true,
		"processor\t: 0\nmodel name\t: AMD EPYC 7763 64-Core Processor\n":                                     false,
		"processor\t: 0\nmodel name\t: QEMU Virtual CPU version 2.5+\n":                                       false, // may be KVM's
		"": false,
	} {
		if got := emulated([]byte(info)); got != want {
			t.Errorf("%q: %v", info, got)
		}
	}
}
