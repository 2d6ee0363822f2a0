package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Root is where an appliance has the groups.
const Root = "/sys/fs/cgroup"

// Bounds of a group; zero: none.
type Bounds struct {
	Memory    int64 // bytes; past it the group's processes are killed together
	Low       int64 // bytes of memory that others leave to it as long as they can
	Processes int64 // threads count too
}

// Group is one group, by its folder.
type Group string

// Make makes a group, or takes one that is there, and sets its bounds. A bound
// whose controller the group above does not give is an error, and the group is
// made all the same.
func Make(folder string, b Bounds) (Group, error) {
	g := Group(folder)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return g, fmt.Errorf("make control group: %w", err)
	}
	var faults []error
	if b.Memory > 0 {
		faults = append(faults, g.write("memory.max", strconv.FormatInt(b.Memory, 10)), g.write("memory.oom.group", "1"))
	}
	if b.Low > 0 {
		faults = append(faults, g.write("memory.low", strconv.FormatInt(b.Low, 10)))
	}
	if b.Processes > 0 {
		faults = append(faults, g.write("pids.max", strconv.FormatInt(b.Processes, 10)))
	}
	return g, errors.Join(faults...)
}

// Share lets the groups below have bounds of the given kinds, as far as the
// kernel has them.
func (g Group) Share(controllers ...string) error {
	b, err := os.ReadFile(filepath.Join(string(g), "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	var text []string
	for _, c := range controllers {
		for _, has := range strings.Fields(string(b)) {
			if c == has {
				text = append(text, "+"+c)
			}
		}
	}
	return g.write("cgroup.subtree_control", strings.Join(text, " "))
}

// Delegate gives a group to a user.
func (g Group) Delegate(uid int) error {
	for _, name := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
		if err := os.Chown(filepath.Join(string(g), name), uid, -1); err != nil {
			return fmt.Errorf("give control group away: %w", err)
		}
	}
	return nil
}

// File opens the group, for a process to be born in: SysProcAttr.CgroupFD.
func (g Group) File() (*os.File, error) {
	f, err := os.OpenFile(string(g), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open control group: %w", err)
	}
	return f, nil
}

// Kill kills every process of the group and of the groups below it. It does not
// wait for their end. A group that is not there has none.
func (g Group) Kill() error {
	err := g.write("cgroup.kill", "1")
	if errors.Is(err, fs.ErrNotExist) {
		if _, gone := os.Stat(string(g)); gone != nil {
			return nil
		}
	}
	return err
}

// Empty reports whether no process is left in the group and below.
func (g Group) Empty() (bool, error) {
	b, err := os.ReadFile(filepath.Join(string(g), "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("control group: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), " "); k == "populated" {
			return v == "0", nil
		}
	}
	return false, errors.New("control group: the kernel does not tell whether it is empty")
}

// Remove deletes an empty group. The kernel may take a moment to see it empty.
func (g Group) Remove(patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := os.Remove(string(g))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("remove control group: %w", err)
		}
	}
}

func (g Group) write(name, value string) error {
	f, err := os.OpenFile(filepath.Join(string(g), name), os.O_WRONLY, 0) // never made: the kernel makes them
	if err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	_, err = f.WriteString(value)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	return nil
}
