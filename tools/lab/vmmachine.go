package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/disk/labdisk"
	"beffroi.dev/pkg/guest/accel"
)

// UEFI firmware of the machines, from the package ovmf.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// vmMemory is what a node has, MB.
const vmMemory = 2048

// startVM powers a node of vm mode on: its disk, which is a process that forgets
// what was not flushed when it is killed, and QEMU.
func startVM(m Machine, o Oddity) error {
	if power(m) != "off" {
		return fmt.Errorf("node %s is %s already", m.Name, power(m))
	}
	if err := kill(m); err != nil { // a machine that powered itself off leaves its disk
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	sock := filepath.Join(m.Dir, "disk.sock")
	_ = os.Remove(sock)
	server := exec.Command(self, "disk", "--file", filepath.Join(m.Dir, "disk.raw"), "--socket", sock, "--seed", strconv.FormatUint(rand.Uint64(), 10))
	if err := launch(m, server, "disk.log"); err != nil {
		return err
	}
	if err := waitSocket(sock); err != nil {
		return fmt.Errorf("disk of node %s: %w", m.Name, err)
	}
	return launch(m, exec.Command("qemu-system-x86_64", vmArgs(m, accelerator(), o)...), "qemu.log")
}

// launch starts a process of a machine.
func launch(m Machine, cmd *exec.Cmd, name string) error {
	log, err := os.OpenFile(filepath.Join(m.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), marker+"="+m.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start node %s: %w", m.Name, err)
	}
	go func() { _ = cmd.Wait() }() // the daemon reaps it; its end shows in the status
	return nil
}

// accelerator probes once: /dev/kvm may open and still never run a guest.
var accelerator = sync.OnceValue(func() string { return string(accel.New("").Probe(context.Background()).Accel) })

// vmArgs is the command line of a node's QEMU: a server with a disk, three network
// cards, a serial line, a screen and a watchdog. Its clock begins at a time, or is
// the host's; a card that is dead is not there.
func vmArgs(m Machine, acc string, o Oddity) []string {
	in := func(name string) string { return filepath.Join(m.Dir, name) }
	machine, cpu := "q35", "max"
	if acc == "kvm" {
		cpu = "host"
	}
	args := []string{
		"-nodefaults", "-name", "beffroi-" + m.Name, "-machine", machine, "-accel", acc, "-cpu", cpu, "-smp", "2", "-m", strconv.Itoa(vmMemory),
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + ovmfCode,
		"-drive", "if=pflash,unit=1,format=raw,file=" + in("vars.fd"),
		"-blockdev", "driver=nbd,node-name=disk,server.type=unix,server.path=" + in("disk.sock") + ",export=disk,cache.direct=on",
		"-device", "virtio-blk-pci,drive=disk,bootindex=0",
		"-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset", "-rtc", "base=" + cmp.Or(o.Clock, "utc"),
		"-chardev", "socket,id=serial,server=on,wait=off,path=" + m.Serial + ",logfile=" + in("serial.log") + ",logappend=on", "-serial", "chardev:serial",
		"-qmp", "unix:" + m.QMP + ",server=on,wait=off", "-vga", "std", "-display", "none",
	}
	for i, segment := range segments {
		if segment == o.Without {
			continue
		}
		args = append(args, "-netdev", fmt.Sprintf("stream,id=%s,server=off,addr.type=unix,addr.path=%s", segment, in(segment+".sock")),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=%s,mac=%s,host_mtu=%d,romfile=", segment, cardMAC(m.Name, i), segmentMTU[segment]))
	}
	return args
}

func cardMAC(node string, card int) string {
	return fmt.Sprintf("02:be:ff:01:%02x:%02x", node[0], card)
}

// runDisk is `lab disk`: one node's disk, over NBD.
func runDisk(args []string) error {
	fs := flag.NewFlagSet("lab disk", flag.ContinueOnError)
	file, socket := fs.String("file", "", "where the blocks lie"), fs.String("socket", "", "where it is served")
	life := fs.Uint64("seed", 0, "of this life's torn writes")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	under, err := disk.OpenFile(*file)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	log.Info("the disk begins a life", "seed", *life)
	dev := labdisk.New(under, *life)
	q := disk.NewQueue(ctx, dev, 8)
	srv, err := nbd.NewServer(nbd.Config{}, oneDisk{q}, log)
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", *socket)
	if err != nil {
		return err
	}
	return errors.Join(srv.Serve(ctx, l), q.Close(), dev.Close())
}

type oneDisk struct{ q disk.Queue }

func (d oneDisk) Open(string) (nbd.Export, error) { return nbd.Export{Name: "disk", Queue: d.q}, nil }
func (d oneDisk) List() []string                  { return []string{"disk"} }
