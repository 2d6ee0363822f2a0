package tap

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"beffroi.dev/pkg/ident"
)

// maxAnswer bounds what is read of an answer: the numbers of all VMs of a pair fit.
const maxAnswer = 64 << 10

// Client is the vm service's side.
type Client struct{ http *http.Client }

// NewClient makes a client of init's socket.
func NewClient(socket string) *Client {
	return &Client{&http.Client{Timeout: 2 * bound, Transport: &http.Transport{
		DisableKeepAlives: true, // few requests, and init may be another one by then
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// List asks which VMs have taps here.
func (c *Client) List(ctx context.Context) ([]ident.VM, error) {
	var out listed
	err := c.ask(ctx, http.MethodGet, path, &out)
	return out.VMs, err
}

// Plug asks for the taps of a VM's cards, in their order.
func (c *Client) Plug(ctx context.Context, id ident.VM) ([]string, error) {
	var out plugged
	err := c.ask(ctx, http.MethodPut, path+"/"+name(id), &out)
	return out.Links, err
}

// Unplug says that a VM has ended.
func (c *Client) Unplug(ctx context.Context, id ident.VM) error {
	return c.ask(ctx, http.MethodDelete, path+"/"+name(id), nil)
}

func (c *Client) ask(ctx context.Context, method, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://init"+path, nil)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask init for taps: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("ask init for taps: %w", err)
	case res.StatusCode == http.StatusNoContent && out == nil:
		return nil
	case res.StatusCode == http.StatusOK && out != nil:
		if err := json.Unmarshal(b, out); err != nil {
			return fmt.Errorf("ask init for taps: %w", err)
		}
		return nil
	}
	return fmt.Errorf("init makes no taps: %s", strings.TrimSpace(string(b)))
}
