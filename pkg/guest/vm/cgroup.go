package vm

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"beffroi.dev/pkg/host/cgroup"
)

// Cgroups is where VMs get control groups of their own. A nil or empty one gives
// none.
type Cgroups struct {
	parents []string // one folder of the second version, or several of the first
	owner   string   // part of the groups' names
	unified bool     // of the second version: a process can be born there
	beside  bool     // the groups lie beside this process's own, which may be killed as one
}

// ServiceGroup is the name, up to a dot, of a control group that holds this program alone and is
// killed with all that is in it. Groups of VMs then lie beside it.
const ServiceGroup = "service"

// Of gives the same places for the VMs of one owner, whose groups are then named
// beffroi-vm-OWNER-NAME: two nodes on one machine have VMs of the same name.
func (c *Cgroups) Of(owner string) *Cgroups {
	return &Cgroups{parents: c.parents, owner: owner + "-", unified: c.unified, beside: c.beside}
}

// DetectCgroups finds out, once for all VMs, whether this process may make control
// groups below its own, and says so if not.
func DetectCgroups(log *slog.Logger) *Cgroups {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		log.Info("guests get no control groups of their own", "cause", err)
		return &Cgroups{}
	}
	list, unified := candidates("/sys/fs/cgroup", string(own))
	c := &Cgroups{unified: unified}
	if base, _, _ := strings.Cut(filepath.Base(firstOf(list)), "."); unified && base == ServiceGroup {
		list[0], c.beside = filepath.Dir(list[0]), true
	}
	c.parents = writable(list)
	if !c.Enabled() {
		log.Info("guests get no control groups of their own", "cause", "none is writable here")
	}
	return c
}

// candidates lists the folders of the groups that this process is in: the one of
// version 2 if that is mounted as such, else those of version 1 that matter.
func candidates(root, own string) (list []string, isUnified bool) {
	var unified string
	var old []string
	for _, line := range strings.Split(own, "\n") {
		fields := strings.SplitN(line, ":", 3) // 0::/path or 8:pids:/path
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[0] == "0" && fields[1] == "":
			unified = fields[2]
		case fields[1] == "pids" || fields[1] == "cpu" || fields[1] == "cpu,cpuacct":
			old = append(old, filepath.Join(root, fields[1], fields[2]))
		}
	}
	for _, place := range []string{"", "unified"} { // alone, or beside the first version
		if _, err := os.Stat(filepath.Join(root, place, "cgroup.controllers")); err == nil && unified != "" {
			return []string{filepath.Join(root, place, unified)}, true
		}
	}
	return old, false
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// writable keeps the folders in which a group can be made.
func writable(folders []string) []string {
	var list []string
	for _, f := range folders {
		probe := filepath.Join(f, "beffroi-probe-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(probe, 0o755) == nil && os.Remove(probe) == nil {
			list = append(list, f)
		}
	}
	return list
}

// Enabled tells whether VMs get any.
func (c *Cgroups) Enabled() bool { return c != nil && len(c.parents) > 0 }

// Beside tells that a VM without a group of its own would be killed with this
// program.
func (c *Cgroups) Beside() bool { return c != nil && c.beside }

// birthplace makes the group of a VM and opens it, where a process can be born in
// one; else nil.
func (c *Cgroups) birthplace(name string) (*os.File, error) {
	switch {
	case c.Beside() && !c.Enabled():
		return nil, errors.New("control group: none can be made beside that of this service")
	case !c.Enabled() || !c.unified:
		return nil, nil
	}
	g, err := cgroup.Make(c.folders(name)[0], cgroup.Bounds{})
	if err != nil {
		return nil, err
	}
	return g.File()
}

func (c *Cgroups) folders(name string) []string {
	if c == nil {
		return nil
	}
	var list []string
	for _, p := range c.parents {
		list = append(list, filepath.Join(p, "beffroi-vm-"+c.owner+name))
	}
	return list
}

// enter puts a process that was not born there into the groups of a VM.
func (c *Cgroups) enter(name string, pid int) error {
	if c.Enabled() && c.unified {
		return nil
	}
	for _, f := range c.folders(name) {
		if err := os.Mkdir(f, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("control group: %w", err)
		}
		if err := os.WriteFile(filepath.Join(f, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("control group: %w", err)
		}
	}
	return nil
}

// remove deletes the groups of a VM whose processes have ended. The kernel may
// take a moment to see them empty.
func (c *Cgroups) remove(name string) {
	for _, f := range c.folders(name) {
		for range 20 {
			if err := os.Remove(f); err == nil || errors.Is(err, os.ErrNotExist) {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
