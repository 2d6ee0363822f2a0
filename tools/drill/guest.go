package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"beffroi.dev/tools/histories/rig"
)

// counter watches the counter guest: the numbers it printed were durable before.
type counter struct {
	vm   string
	node string // where it ran before the kill
	last uint64 // highest number it had printed by then
}

var printed = regexp.MustCompile(`counter (\d+)\r?\n`)

// highest is the highest number in what a VM has printed; 0 when there is none.
func highest(text []byte) (n uint64) {
	for _, m := range printed.FindAllSubmatch(text, -1) {
		if v, err := strconv.ParseUint(string(m[1]), 10, 64); err == nil {
			n = max(n, v)
		}
	}
	return n
}

// serial reads the highest number that a VM has printed on a node: in its serial log,
// or asked over the API of a node that is a virtual machine; 0 when it is gone.
func serial(ctx context.Context, r *rig.Rig, vm, node string) (n uint64) {
	if dir := r.Node(node).Guests; dir != "" {
		files, _ := filepath.Glob(filepath.Join(dir, vm, "serial*.log"))
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			n = max(n, highest(b))
		}
		return n
	}
	api, err := r.API(node)
	if err != nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	text, err := api.Serial(ctx, vm, 4096)
	if err != nil {
		return 0
	}
	return highest([]byte(text))
}

// watch notes where the guest runs, and how far it is: the serial line of a virtual
// machine that has lost its power cannot be read any more.
func watch(ctx context.Context, r *rig.Rig, vm string, s rig.Status) (*counter, error) {
	for _, v := range s.VMs {
		if v.Name == vm {
			return &counter{vm: vm, node: v.Node, last: serial(ctx, r, vm, v.Node)}, nil
		}
	}
	return nil, fmt.Errorf("there is no VM %s", vm)
}

// after waits until the guest counts on, wherever it runs now, and holds its
// numbers against what it had printed before the kill. The log of a dead node that is
// a process can still be read: it is a file of the lab.
func (c *counter) after(ctx context.Context, r *rig.Rig) (string, error) {
	c.last = max(c.last, serial(ctx, r, c.vm, c.node))
	begun := time.Now()
	for time.Since(begun) < 3*time.Minute {
		s, err := r.Status()
		if err != nil {
			return "", err
		}
		for _, v := range s.VMs {
			if v.Name != c.vm || v.State != "running" {
				continue
			}
			if v.Node == c.node {
				if now := serial(ctx, r, c.vm, v.Node); now > c.last {
					return fmt.Sprintf(", guest stayed on %s at %d", v.Node, now), nil
				}
				continue
			}
			if now := serial(ctx, r, c.vm, v.Node); now > c.last {
				return fmt.Sprintf(", guest on %s went on from %d (at %d)", v.Node, c.last, now), nil
			}
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return "", fmt.Errorf("the guest %s did not count beyond %d, which it had printed before its node died", c.vm, c.last)
}
