package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"beffroi.dev/tools/lab/remote"
)

// counter watches the counter guest: the numbers it printed were durable before.
type counter struct {
	vm   string
	node string // where it ran before the kill
	last uint64 // highest number it had printed by then
}

var printed = regexp.MustCompile(`counter (\d+)\r?\n`)

// serial reads the highest number that a VM has printed on a node: in its serial log,
// or asked over the API of a node that is a virtual machine; 0 when it is gone.
func (l *lab) serial(ctx context.Context, vm, node string) uint64 {
	for _, n := range l.Nodes {
		if n.Name != node {
			continue
		}
		if n.Guests == "" {
			return l.remoteSerial(ctx, vm, n.API)
		}
		files, _ := filepath.Glob(filepath.Join(n.Guests, vm, "serial*.log"))
		var highest uint64
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			for _, m := range printed.FindAllSubmatch(b, -1) {
				if v, err := strconv.ParseUint(string(m[1]), 10, 64); err == nil {
					highest = max(highest, v)
				}
			}
		}
		return highest
	}
	return 0
}

// remoteSerial asks the node that runs the guest.
func (l *lab) remoteSerial(ctx context.Context, vm, url string) (highest uint64) {
	r, err := remote.New(url, l.TokenFile)
	if err != nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	text, err := r.Serial(ctx, vm, 4096)
	if err != nil {
		return 0
	}
	for _, m := range printed.FindAllStringSubmatch(text, -1) {
		if v, err := strconv.ParseUint(m[1], 10, 64); err == nil {
			highest = max(highest, v)
		}
	}
	return highest
}

// watch notes where the guest runs, and how far it is: the serial line of a virtual
// machine that has lost its power cannot be read any more.
func (l *lab) watch(ctx context.Context, vm string, s labStatus) (*counter, error) {
	for _, v := range s.VMs {
		if v.Name == vm {
			return &counter{vm: vm, node: v.Node, last: l.serial(ctx, vm, v.Node)}, nil
		}
	}
	return nil, fmt.Errorf("there is no VM %s", vm)
}

// after waits until the guest counts on, wherever it runs now, and holds its
// numbers against what it had printed before the kill. The log of a dead node that is
// a process can still be read: it is a file of the lab.
func (c *counter) after(ctx context.Context, l *lab) (string, error) {
	c.last = max(c.last, l.serial(ctx, c.vm, c.node))
	begun := time.Now()
	for time.Since(begun) < 3*time.Minute {
		s, err := l.status()
		if err != nil {
			return "", err
		}
		for _, v := range s.VMs {
			if v.Name != c.vm || v.State != "running" {
				continue
			}
			if v.Node == c.node {
				if now := l.serial(ctx, c.vm, v.Node); now > c.last {
					return fmt.Sprintf(", guest stayed on %s at %d", v.Node, now), nil
				}
				continue
			}
			if now := l.serial(ctx, c.vm, v.Node); now > c.last {
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
