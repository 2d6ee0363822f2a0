package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"beffroi.dev/appliance/config"
)

// marker is the environment variable by which the lab finds the processes of a
// machine.
const marker = "BEFFROI_LAB_NODE"

// Oddity is how a virtual machine differs, this time, from what it should be.
type Oddity struct {
	Clock   string `json:"clock,omitempty"`   // what its own clock says; empty: the host's
	Without string `json:"without,omitempty"` // the cable whose card is dead
}

func (o Oddity) check(m Machine) error {
	switch {
	case m.Mode != "vm" && o != Oddity{}:
		return fmt.Errorf("node %s is a process: it has the host's clock, and no cards", m.Name)
	case o.Without != "" && !slices.Contains(segments, o.Without):
		return fmt.Errorf("without %q: a node has the cards of %s", o.Without, strings.Join(segments, ", "))
	}
	return nil
}

// start powers a machine on: the parent of its services.
func start(m Machine, binary string, o Oddity) error {
	if err := o.check(m); err != nil {
		return err
	}
	if m.Mode == "vm" {
		return startVM(m, o)
	}
	if len(processes(m)) > 0 {
		return fmt.Errorf("node %s runs already", m.Name)
	}
	d := config.Dir(m.Dir)
	n, err := config.Load(d)
	if err != nil {
		return err
	}
	args := []string{"init", "--dir", m.Dir}
	if n.Store.Path == "" {
		args[0] = "witness"
	} else {
		n.Store.LabSeed = rand.Uint64() // each life tears its writes in its own way
		if err := config.Save(d, n); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(filepath.Join(d.Logs(), "machine.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), marker+"="+m.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start node %s: %w", m.Name, err)
	}
	go func() { _ = cmd.Wait() }() // the daemon reaps it; its end shows in the status
	return nil
}

// processes lists the machine's processes, its parent first.
func processes(m Machine) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if !m.owns(filepath.Join("/proc", e.Name())) {
			continue
		}
		if stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat")); err == nil && zombie(string(stat)) {
			continue
		}
		pids = append(pids, pid)
	}
	slices.SortFunc(pids, func(a, b int) int {
		return boolOrder(isParent(b)) - boolOrder(isParent(a))
	})
	return pids
}

// owns tells a machine's process by the marker in its environment; and a guest's
// QEMU, which is given an environment of its own, by its folder.
func (m Machine) owns(proc string) bool {
	env, err := os.ReadFile(filepath.Join(proc, "environ"))
	if err != nil {
		return false
	}
	want := []byte(marker + "=" + m.Dir)
	if slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.Equal(v, want) }) {
		return true
	}
	cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
	return err == nil && m.Guests != "" && strings.HasPrefix(cwd, m.Guests+string(filepath.Separator))
}

func boolOrder(b bool) int {
	if b {
		return 1
	}
	return 0
}

func zombie(stat string) bool {
	i := strings.LastIndexByte(stat, ')')
	return i > 0 && i+2 < len(stat) && stat[i+2] == 'Z'
}

func isParent(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := bytes.Split(b, []byte{0})
	return len(args) > 1 && (string(args[1]) == "init" || strings.HasPrefix(filepath.Base(string(args[0])), "qemu-system") && string(args[1]) == "-nodefaults" && bytes.Contains(b, []byte("i6300esb")))
}

func sendAll(pids []int, s syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, s) // it may have gone meanwhile, which is what is wanted
	}
}

// kill cuts the power: everything stops at once, then is gone. The fabric has
// silenced the machine before.
func kill(m Machine) error {
	sendAll(processes(m), syscall.SIGSTOP)
	limit := time.Now().Add(10 * time.Second)
	for {
		pids := processes(m)
		if len(pids) == 0 {
			return nil
		}
		sendAll(pids, syscall.SIGKILL)
		if time.Now().After(limit) {
			return fmt.Errorf("processes of node %s do not die: %v", m.Name, pids)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// pause freezes a machine; resume thaws it, its parent first, which is where a
// server's hardware watchdog would have acted meanwhile.
func pause(m Machine) error {
	pids := processes(m)
	if len(pids) == 0 {
		return fmt.Errorf("node %s does not run", m.Name)
	}
	slices.Reverse(pids)
	sendAll(pids, syscall.SIGSTOP)
	return nil
}

func resume(m Machine) error {
	pids := processes(m)
	if len(pids) == 0 {
		return fmt.Errorf("node %s does not run", m.Name)
	}
	for i, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("thaw process %d: %w", pid, err)
		}
		if i == 0 && len(pids) > 1 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// power of a machine: running, paused or off.
func power(m Machine) string {
	pids := processes(m)
	if len(pids) == 0 || m.Mode == "vm" && !isParent(pids[0]) { // a disk without its machine
		return "off"
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pids[0]))
	if i := strings.LastIndexByte(string(stat), ')'); err == nil && i > 0 && i+2 < len(stat) && stat[i+2] == 'T' {
		return "paused"
	}
	return "running"
}
