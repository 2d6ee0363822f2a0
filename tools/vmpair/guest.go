package vmpair

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Guest is the counter guest on a pair: each number it prints was durable before.
type Guest struct {
	pair *Pair
	Name string
}

// Sighting is a guest as it was seen.
type Sighting struct {
	Node  string // where it runs
	State string
	Count uint64 // the highest number it has printed there; 0: none yet
}

// CreateGuest makes a counter guest with the operator's command line, and waits until
// it counts.
func (p *Pair) CreateGuest(ctx context.Context, name string) (*Guest, error) {
	image := filepath.Join(p.Dir, "counter.img")
	if out, err := exec.CommandContext(ctx, filepath.Join(p.Bin, "counterguest"), "-o", image).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make the counter guest: %w: %s", err, out)
	}
	url := p.Node("a").API
	c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true}) // the lab made the node
	if err != nil {
		return nil, err
	}
	pin := fmt.Sprintf("%x", sha256.Sum256(c.ConnectionState().PeerCertificates[0].Raw))
	_ = c.Close()
	cmd := exec.CommandContext(ctx, filepath.Join(p.Bin, "beffroictl"), "--url", url, "--token-file", p.TokenFile, "--pin", pin, "vm", "create", name, "--image", image)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("create the guest: %w: %s", err, out)
	}
	g := &Guest{pair: p, Name: name}
	_, err = g.Beyond(ctx, 0)
	return g, err
}

var printed = regexp.MustCompile(`counter (\d+)\r?\n`)

// See looks at the guest once.
func (g *Guest) See(ctx context.Context) (Sighting, error) {
	s, err := g.pair.Status()
	if err != nil {
		return Sighting{}, err
	}
	for _, v := range s.VMs {
		if v.Name != g.Name {
			continue
		}
		seen := Sighting{Node: v.Node, State: v.State}
		if v.State != "running" {
			return seen, nil
		}
		api, err := g.pair.API(v.Node)
		if err != nil {
			return seen, err
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		text, err := api.Serial(ctx, g.Name, 4096)
		if err != nil {
			return seen, nil // its node has just gone: seen again later
		}
		for _, m := range printed.FindAllStringSubmatch(text, -1) {
			if n, err := strconv.ParseUint(m[1], 10, 64); err == nil {
				seen.Count = max(seen.Count, n)
			}
		}
		return seen, nil
	}
	return Sighting{}, fmt.Errorf("the pair has no guest %s: %+v", g.Name, s.VMs)
}

// Beyond waits until the guest has printed a number above n.
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
