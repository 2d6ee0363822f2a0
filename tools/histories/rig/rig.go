// Package rig drives a lab from outside, as an operator would: through the lab's
// program, lab.json and lab status --json. Tests start a lab of their own with
// Build and Start.
package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"beffroi.dev/pkg/ident"
)

// Node is what a rig needs of one machine in lab.json.
type Node struct {
	Name    string     `json:"name"`
	ID      ident.Node `json:"id"`
	Dir     string     `json:"state_dir"`
	API     string     `json:"api_url"`
	Citizen string     `json:"citizen_url"`
	NBD     string     `json:"nbd_socket"`
	Control string     `json:"control_socket"`
	Guests  string     `json:"guests_dir"`    // process mode
	Serial  string     `json:"serial_socket"` // vm mode
	QMP     string     `json:"qmp_socket"`    // vm mode
	Links   []Link     `json:"links"`
}

// Link is one way that a machine dials.
type Link struct {
	Path   string `json:"path"`
	Listen string `json:"listen"`
	Target string `json:"target"`
}

// Rig is a lab.
type Rig struct {
	Dir       string
	Bin       string   // folder of the programs
	Nodes     []Node   `json:"nodes"`
	Citizen   string   `json:"citizen_url"`
	Console   []string `json:"console_urls"`
	TokenFile string   `json:"token_file"`
	Password  string   `json:"password_file"`
}

// Volume is what a rig needs of a volume's status.
type Volume struct {
	Name    string   `json:"name"`
	Size    int64    `json:"size_bytes"`
	Primary string   `json:"primary"`
	Epoch   uint64   `json:"epoch"`
	InSync  []string `json:"insync"`
	State   string   `json:"state"`
}

// Status is what a rig needs of lab status --json.
type Status struct {
	Nodes []struct {
		Name  string `json:"name"`
		State string `json:"state"`
		Ready bool   `json:"ready"`
		PIDs  []int  `json:"pids"`
	} `json:"nodes"`
	Volumes []Volume `json:"volumes"`
	VMs     []struct {
		Name  string `json:"name"`
		Node  string `json:"node"`
		State string `json:"state"`
	} `json:"vms"`
	Citizen string `json:"citizen_node"`
}

// Volume finds a volume by its name, GROUP/VOLUME; the zero Volume when there is
// none.
func (s Status) Volume(name string) Volume {
	for _, v := range s.Volumes {
		if v.Name == name {
			return v
		}
	}
	return Volume{}
}

// Build builds every program into a folder. It is called inside the repository.
func Build(ctx context.Context, bin string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin+"/", "./cmd/...", "./tools/...")
	cmd.Dir = string(bytes.TrimSpace(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// Start brings a lab up in a folder with the programs of another. Labs start one
// after another: the net that a lab finds free is taken only once its services
// listen.
func Start(ctx context.Context, dir, bin string, args ...string) (*Rig, error) {
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "beffroi-lab-start.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start a lab: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("start a lab: %w", err)
	}
	for try := 1; ; try++ {
		said, err := up(ctx, dir, bin, args)
		if err == nil {
			return Open(dir, bin)
		}
		_ = exec.Command(filepath.Join(bin, "lab"), "down", "--dir", dir).Run() // what came up of it
		if try == maxStarts || !netTaken(dir) {
			log, _ := os.ReadFile(filepath.Join(dir, "daemon.log"))
			return nil, fmt.Errorf("lab up: %w\n%s\n%s", err, said, log)
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("start a lab again: %w", err)
		}
	}
}

// maxStarts bounds how often a lab is started because its net was not free.
const maxStarts = 10

// up runs lab up. It gives up early when the lab's net turns out to be taken.
func up(ctx context.Context, dir, bin string, args []string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for ctx.Err() == nil && !netTaken(dir) {
			time.Sleep(100 * time.Millisecond)
		}
		cancel()
	}()
	args = append([]string{"up", "--dir", dir, "--beffroi", filepath.Join(bin, "beffroi")}, args...)
	return exec.CommandContext(ctx, filepath.Join(bin, "lab"), args...).CombinedOutput()
}

// netTaken tells whether a lab could not start because another one was just moving
// its service address, which made its net look free.
func netTaken(dir string) bool {
	log, err := os.ReadFile(filepath.Join(dir, "daemon.log"))
	return err == nil && bytes.Contains(log, []byte("address already in use"))
}

// Open finds a lab that is up.
func Open(dir, bin string) (*Rig, error) {
	b, err := os.ReadFile(filepath.Join(dir, "lab.json"))
	if err != nil {
		return nil, fmt.Errorf("no lab (start one with: lab up): %w", err)
	}
	r := &Rig{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("lab.json: %w", err)
	}
	r.Dir, r.Bin = dir, bin
	return r, nil
}

// Node finds a machine by its name.
func (r *Rig) Node(name string) Node {
	for _, n := range r.Nodes {
		if n.Name == name {
			return n
		}
	}
	panic("a lab has no node " + name)
}

// Twin names the other data node.
func Twin(name string) string {
	if name == "a" {
		return "b"
	}
	return "a"
}

// Do runs a verb of the lab.
func (r *Rig) Do(args ...string) ([]byte, error) {
	out, err := exec.Command(filepath.Join(r.Bin, "lab"), append(args, "--dir", r.Dir)...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("lab %v: %w", args, err)
	}
	return out, nil
}

// Down stops the lab. Its daemon may be gone before its answer has left, so what
// counts is that every machine is off.
func (r *Rig) Down() error {
	_, err := r.Do("down")
	if err == nil {
		return nil
	}
	if _, late := r.Until(context.Background(), 20*time.Second, "every machine is off", func(s Status) bool {
		for _, n := range s.Nodes {
			if n.State != "off" {
				return false
			}
		}
		return true
	}); late != nil {
		return errors.Join(err, late)
	}
	return nil
}

// Status asks the lab.
func (r *Rig) Status() (Status, error) {
	var s Status
	out, err := r.Do("status", "--json")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("lab status: %w", err)
	}
	return s, nil
}

// Until polls the status until it is as wanted.
func (r *Rig) Until(ctx context.Context, bound time.Duration, what string, ok func(Status) bool) (Status, error) {
	limit := time.Now().Add(bound)
	for {
		s, err := r.Status()
		if err != nil {
			return s, err
		}
		if ok(s) {
			return s, nil
		}
		if time.Now().After(limit) {
			return s, fmt.Errorf("waited %v until %s; the lab says %+v", bound, what, s)
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Settled waits until all machines are ready, every volume is mirrored and
// citizens are served.
func (r *Rig) Settled(ctx context.Context, bound time.Duration) (Status, error) {
	return r.Until(ctx, bound, "everything is mirrored and citizens are served", func(s Status) bool {
		for _, n := range s.Nodes {
			if !n.Ready || n.State != "running" {
				return false
			}
		}
		for _, v := range s.Volumes {
			if v.State != "mirrored" {
				return false
			}
		}
		return s.Citizen != "" && len(s.Volumes) > 0
	})
}
