// Package remote asks a node over the operator's API: there is no other door into
// a virtual machine of the lab.
//
// It takes the node's certificate as it is, because the lab made the node; nothing
// but tools may do that.
package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"beffroi.dev/appliance/status"
)

// maxAnswer is more than a node says.
const maxAnswer = 8 << 20

// Node is a node's API.
type Node struct {
	url, token string
	client     *http.Client
}

// New reads the administrator's token of a lab; url is a node's console.
func New(url, tokenFile string) (*Node, error) {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return nil, fmt.Errorf("the administrator's token: %w", err)
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	return &Node{url: url, token: strings.TrimSpace(string(token)), client: &http.Client{Transport: t}}, nil
}

// Do sends in as JSON and reads the answer into out; either may be nil.
func (n *Node) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	b, err := n.Send(ctx, method, path, body)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(b, out)
}

// Send sends a body and returns the answer's, as they are.
func (n *Node) Send(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, n.url+"/api/v1"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+n.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := n.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, strings.TrimSpace(string(b)))
	}
	return b, nil
}

// Status is the node as it sees itself and the others.
func (n *Node) Status(ctx context.Context) (status.Node, error) {
	var s status.Node
	err := n.Do(ctx, http.MethodGet, "/status", nil, &s)
	return s, err
}

// Serial is the end of what a virtual machine has said, asked of the node that runs
// it.
func (n *Node) Serial(ctx context.Context, vm string, bytes int) (string, error) {
	b, err := n.Send(ctx, http.MethodGet, "/vms/"+vm+"/serial?bytes="+strconv.Itoa(bytes), nil)
	return string(b), err
}
