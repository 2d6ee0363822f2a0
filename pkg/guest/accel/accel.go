// Package accel finds out how guests can be run on this machine.
//
// That /dev/kvm opens proves nothing: on some machines it opens and a guest then
// never executes an instruction. So a Prober runs a real guest, seven bytes at
// the reset vector that leave through the debug exit device, and believes only
// its exit status, within a deadline. It asks once; the machine does not change
// under a running process.
//
// On a machine that is itself emulated it does not ask: KVM runs guests there on
// emulated instructions, and was seen to corrupt the kernel's stacks.
//
// It never loads modules and never changes permissions.
package accel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"beffroi.dev/pkg/guest/qemu"
)

// deadline is for the whole probe: starting QEMU takes some 100 ms, the guest
// microseconds.
const deadline = 5 * time.Second

// The probe guest writes code to the debug exit port; QEMU then exits with
// 2*code+1.
const (
	exitCode   = 0x2a
	exitStatus = 2*exitCode + 1
	romSize    = 64 << 10
)

// reset is what the processor finds at its reset vector, 16 bytes below the end
// of the ROM.
var reset = []byte{
	0xba, 0xf4, 0x00, // mov dx, 0xf4
	0xb0, exitCode, // mov al, code
	0xee, // out dx, al
	0xf4, // hlt
}

// Answer is what a probe found.
type Answer struct {
	Accel  qemu.Accel
	Reason string // why not KVM; empty for KVM
}

// Prober answers once and remembers.
type Prober struct {
	binary string
	once   sync.Once
	answer Answer
}

// New makes a prober that uses a QEMU program ("" means qemu-system-x86_64).
func New(binary string) *Prober {
	if binary == "" {
		binary = "qemu-system-x86_64"
	}
	return &Prober{binary: binary}
}

// Probe tells how guests are to be run. The first call takes up to five seconds.
func (p *Prober) Probe(ctx context.Context) Answer {
	p.once.Do(func() {
		p.answer = Answer{Accel: qemu.KVM}
		if err := p.try(ctx, qemu.KVM); err != nil {
			p.answer = Answer{Accel: qemu.TCG, Reason: err.Error()}
		}
	})
	return p.answer
}

// try runs the probe guest.
func (p *Prober) try(ctx context.Context, a qemu.Accel) error {
	cpu := "max"
	if a == qemu.KVM {
		cpu = "host"
		if info, err := os.ReadFile("/proc/cpuinfo"); err == nil && emulated(info) {
			return errors.New("this machine is itself emulated")
		}
		f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("open KVM: %w", err)
		}
		_ = f.Close()
	}
	dir, err := os.MkdirTemp("", "accel")
	if err != nil {
		return fmt.Errorf("probe guest: %w", err)
	}
	defer os.RemoveAll(dir)
	rom := filepath.Join(dir, "rom")
	if err := os.WriteFile(rom, image(), 0o600); err != nil {
		return fmt.Errorf("probe guest: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.binary, "-nodefaults", "-no-user-config", "-nic", "none", "-display", "none", "-vga", "none",
		"-machine", "q35,accel="+string(a), "-cpu", cpu, "-m", "16M", "-bios", rom, "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("a guest under %s did not run within %v", a, deadline)
	case errors.As(err, &exit) && exit.ExitCode() == exitStatus:
		return nil
	case err == nil:
		err = errors.New("it exited without running its guest")
	}
	return fmt.Errorf("a guest under %s failed: %w: %.200s", a, err, out)
}

// emulated tells the processor of QEMU's own emulation by its model name.
func emulated(cpuinfo []byte) bool {
	for line := range bytes.Lines(cpuinfo) {
		name, model, _ := bytes.Cut(line, []byte(":"))
		if string(bytes.TrimSpace(name)) == "model name" {
			return bytes.HasPrefix(bytes.TrimSpace(model), []byte("QEMU TCG CPU"))
		}
	}
	return false
}

// image is the ROM of the probe guest.
func image() []byte {
	rom := make([]byte, romSize)
	copy(rom[romSize-16:], reset)
	return rom
}
