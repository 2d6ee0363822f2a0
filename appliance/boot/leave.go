package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/guests"
	"beffroi.dev/appliance/leave"
	"beffroi.dev/pkg/ident"
)

// maxSaid bounds what a service of this node answers.
const maxSaid = 64 << 10

// handOver gives the node's work to its twin before the services stop.
func (s *system) handOver(ctx context.Context, seq *Sequence) {
	begun := time.Now()
	err := leave.Run(ctx, leave.Config{
		Control: control.NewClient(s.dir.Socket("node")),
		Drain: func(ctx context.Context, bound time.Duration) ([]ident.VM, error) {
			var out guests.Draining
			err := post(ctx, s.dir.Socket("vm"), "/v1/drain", guests.Drain{BoundMS: bound.Milliseconds()}, &out)
			return out.Alive, err
		},
		Switch: func(ctx context.Context, group ident.Group, to ident.Node) error {
			ask := struct {
				Group ident.Group `json:"group"`
				To    ident.Node  `json:"to"`
			}{group, to}
			return post(ctx, s.dir.Socket("block"), "/v1/switch", ask, nil)
		},
	}, seq.SetEnding, s.log)
	if err != nil {
		s.log.Warn("the node goes down without having handed everything over", "cause", err)
	}
	s.log.Info("the node goes down", "handed_over_in", time.Since(begun).Round(time.Millisecond))
}

// post asks a service of this node.
func post(ctx context.Context, socket, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node"+path, bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	res, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, maxSaid))
	switch {
	case err != nil:
		return fmt.Errorf("ask %s: %w", path, err)
	case res.StatusCode >= 300:
		return fmt.Errorf("ask %s: %s: %s", path, res.Status, strings.TrimSpace(string(said)))
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(said, out); err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	return nil
}
