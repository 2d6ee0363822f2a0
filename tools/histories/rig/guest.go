package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// Guest is the counter guest on a pair: each number it prints was durable before.
type Guest struct {
	rig  *Rig
	Name string
}

// Sighting is a guest as it was seen.
type Sighting struct {
	Node  string // where it runs
	State string
	Count uint64 // the highest number it has printed there; 0: none yet
}

// Guest is a counter guest that the pair has.
func (r *Rig) Guest(name string) *Guest { return &Guest{rig: r, Name: name} }

// See looks at the guest once. The zero Sighting is one that nobody knows of just now:
// a pair that has lost a node may need a moment.
func (g *Guest) See(ctx context.Context) (Sighting, error) {
	s, err := g.rig.Status()
	if err != nil {
		return Sighting{}, err
	}
	for _, v := range s.VMs {
		if v.Name != g.Name {
			continue
		}
		seen := Sighting{Node: v.Node, State: v.State}
		if v.State == "running" {
			seen.Count = g.Printed(ctx, v.Node)
		}
		return seen, nil
	}
	return Sighting{}, nil
}

// Beyond waits until the guest has printed a number above n where it runs.
func (g *Guest) Beyond(ctx context.Context, n uint64) (Sighting, error) {
	for {
		s, err := g.See(ctx)
		if err != nil {
			return s, err
		}
		if s.Count > n {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("the guest does not count beyond %d: %w; seen last: %+v", n, context.Cause(ctx), s)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

var printed = regexp.MustCompile(`counter (\d+)\r?\n`)

// highest is the highest number in what a guest has printed; 0 when there is none.
func highest(text []byte) (n uint64) {
	for _, m := range printed.FindAllSubmatch(text, -1) {
		if v, err := strconv.ParseUint(string(m[1]), 10, 64); err == nil {
			n = max(n, v)
		}
	}
	return n
}

// Printed is the highest number that the guest has printed on a node: in its serial
// log, which can still be read when the node is dead, or asked over the API of a node
// that is a virtual machine; 0 when nobody answers.
func (g *Guest) Printed(ctx context.Context, node string) (n uint64) {
	if dir := g.rig.Node(node).Guests; dir != "" {
		files, _ := filepath.Glob(filepath.Join(dir, g.Name, "serial*.log"))
		for _, file := range files {
			if b, err := os.ReadFile(file); err == nil {
				n = max(n, highest(b))
			}
		}
		return n
	}
	api, err := g.rig.API(node)
	if err != nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	text, err := api.Serial(ctx, g.Name, 4096)
	if err != nil {
		return 0
	}
	return highest([]byte(text))
}
