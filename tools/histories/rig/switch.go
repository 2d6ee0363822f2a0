package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/pkg/ident"
)

// ErrNotSwitched is wrapped when a node refuses a planned switch.
var ErrNotSwitched = errors.New("the switch was refused")

// Group finds the number of a group by its name, as a node knows it.
func (r *Rig) Group(ctx context.Context, node, name string) (ident.Group, error) {
	s, err := control.NewClient(r.Node(node).Control).Status(ctx)
	if err != nil {
		return 0, err
	}
	for _, g := range s.Groups {
		if g.Name == name {
			return g.ID, nil
		}
	}
	return 0, fmt.Errorf("node %s knows no group %s", node, name)
}

// Switch asks the node that leads a group to hand it to another.
func (r *Rig) Switch(ctx context.Context, group ident.Group, from, to string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	socket := filepath.Join(filepath.Dir(r.Node(from).NBD), "block.sock")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	body, err := json.Marshal(struct {
		Group ident.Group `json:"group"`
		To    ident.Node  `json:"to"`
	}{group, r.Node(to).ID})
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://block/v1/switch", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("switch: %w: %w", ErrNotSwitched, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		said, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		return fmt.Errorf("switch: %w: %s: %s", ErrNotSwitched, res.Status, said)
	}
	return nil
}
