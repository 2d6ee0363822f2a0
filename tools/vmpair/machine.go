package vmpair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"beffroi.dev/pkg/guest/accel"
	"beffroi.dev/pkg/guest/qmp"
	"beffroi.dev/tools/serial"
)

// Firmware of a machine, from the package ovmf.
const (
	Code   = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	Secure = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
	Vars   = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// Alone describes one server that belongs to no lab.
type Alone struct {
	Disk string // its image; the machine writes into a copy that is forgotten
	Code string // firmware; empty: Code
	Vars string // where its variables begin; empty: Vars
	// Beside is a second disk, behind a controller (a device of QEMU) that takes SCSI disks.
	Beside, Controller string
	Cards              string // model of the card; empty: as in the lab
	NoWatchdog         bool
	More               []string // more words for QEMU
	Clock              string   // of -rtc base=; empty: utc
}

// Machine is a running one.
type Machine struct {
	Dir  string
	Line *serial.Line
	cmd  *exec.Cmd
	done chan error
}

// PowerOn starts a machine.
func PowerOn(ctx context.Context, a Alone) (*Machine, error) {
	dir, err := os.MkdirTemp("", "one")
	if err != nil {
		return nil, err
	}
	m := &Machine{Dir: dir, done: make(chan error, 1)}
	if err := m.start(ctx, a); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Machine) start(ctx context.Context, a Alone) error {
	vars := filepath.Join(m.Dir, "vars.fd")
	if err := copyFile(or(a.Vars, Vars), vars); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(m.Dir, "qemu.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	m.cmd = exec.Command("qemu-system-x86_64", a.args(m.Dir, vars, string(accel.New("").Probe(ctx).Accel))...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	// It dies with the test, whatever ends that.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	go func() { m.done <- m.cmd.Wait(); close(m.done) }()
	dctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if m.Line, err = dial(dctx, m.socket("serial.sock")); err != nil {
		text, _ := os.ReadFile(filepath.Join(m.Dir, "qemu.log"))
		return fmt.Errorf("%w: %s", err, text)
	}
	return nil
}

func (m *Machine) socket(name string) string { return filepath.Join(m.Dir, name) }

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (a Alone) args(dir, vars, acc string) []string {
	in := func(name string) string { return filepath.Join(dir, name) }
	machine, cpu := "q35", "max"
	if acc == "kvm" {
		cpu = "host"
	}
	if a.Code == Secure {
		machine += ",smm=on"
	}
	args := []string{"-nodefaults", "-machine", machine, "-accel", acc, "-cpu", cpu, "-smp", "2", "-m", "2048",
		"-global", "driver=cfi.pflash01,property=secure,value=" + map[bool]string{true: "on", false: "off"}[a.Code == Secure],
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + or(a.Code, Code),
		"-drive", "if=pflash,unit=1,format=raw,file=" + vars,
		"-drive", "if=none,id=disk,format=raw,snapshot=on,file=" + a.Disk,
		"-device", "virtio-rng-pci", "-action", "watchdog=reset", "-rtc", "base=" + or(a.Clock, "utc"),
		"-chardev", "socket,id=serial,server=on,wait=off,path=" + in("serial.sock") + ",logfile=" + in("serial.log"), "-serial", "chardev:serial",
		"-qmp", "unix:" + in("qmp.sock") + ",server=on,wait=off", "-vga", "std", "-display", "none",
		"-netdev", "hubport,id=lan,hubid=0", "-device", or(a.Cards, "virtio-net-pci") + ",netdev=lan,romfile="}
	if !a.NoWatchdog {
		args = append(args, "-device", "i6300esb")
	}
	args = append(args, "-device", "virtio-blk-pci,drive=disk,bootindex=0")
	args = append(args, a.More...)
	if a.Beside != "" {
		args = append(args, "-drive", "if=none,id=beside,format=raw,snapshot=on,file="+a.Beside, "-device", a.Controller, "-device", "scsi-hd,drive=beside")
	}
	return args
}

// Monitor opens QEMU's monitor of the machine.
func (m *Machine) Monitor(ctx context.Context) (*qmp.Monitor, error) {
	return qmp.Open(ctx, m.socket("qmp.sock"), qmp.Config{}, slog.New(slog.DiscardHandler))
}

// Said is all that the serial line has said.
func (m *Machine) Said() string {
	b, _ := os.ReadFile(filepath.Join(m.Dir, "serial.log"))
	return orders.ReplaceAllString(string(b), " ")
}

// Close takes the power away and removes what is left.
func (m *Machine) Close() error {
	if m.Line != nil {
		_ = m.Line.Close()
	}
	if m.cmd != nil && m.cmd.Process != nil {
		_ = m.cmd.Process.Kill()
		<-m.done
	}
	return os.RemoveAll(m.Dir)
}

// CopyDisk copies an image without its holes, onto a disk of at least a size.
func CopyDisk(from, to string, size int64) error {
	if out, err := exec.Command("cp", "--sparse=always", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	st, err := os.Stat(to)
	if err != nil {
		return err
	}
	return os.Truncate(to, max(size, st.Size()))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
