package vmpair

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"beffroi.dev/tools/histories/rig"
)

// CreateGuest makes a counter guest with the operator's command line, and waits until
// it counts.
func (p *Pair) CreateGuest(ctx context.Context, name string) (*rig.Guest, error) {
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
	g := p.Guest(name)
	_, err = g.Beyond(ctx, 0)
	return g, err
}
