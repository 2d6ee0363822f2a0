package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/quorum/cluster"
)

const (
	// maxAnswer bounds what a client reads: a state at all its limits is smaller.
	maxAnswer = 16 << 20
	// answerBound is how long the node service may take for what it does not wait
	// for: it answers from memory.
	answerBound = 5 * time.Second
	// pollSlack is what a poll may take beyond its bound.
	pollSlack = 5 * time.Second
	// retryMin and retryMax bound the pause of Watch between two attempts. The
	// longest is well below every fence, so that a restart of the node service is
	// noticed in time.
	retryMin = 20 * time.Millisecond
	retryMax = 500 * time.Millisecond
)

// Client talks to the node service of this node. Its methods may be called
// concurrently; it keeps no goroutine of its own.
type Client struct {
	http *http.Client
}

// NewClient makes a client of the socket; nothing is dialled yet.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 8, // state, order, report and some proposals at a time
		IdleConnTimeout:     time.Minute,
	}}}
}

// State waits for a voted state with an index above after, and returns the
// newest. It does not retry: an error is the caller's to judge.
func (c *Client) State(ctx context.Context, after uint64) (*cluster.State, error) {
	b, err := c.poll(ctx, "state", after)
	if err != nil {
		return nil, err
	}
	s, err := cluster.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("ask for the state: %w", err)
	}
	return s, nil
}

// Watch is State that tries again, with growing pauses, until ctx ends.
func (c *Client) Watch(ctx context.Context, after uint64) (*cluster.State, error) {
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		s, err := c.State(ctx, after)
		if err == nil {
			return s, nil
		}
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			again.Stop()
			return nil, err
		case <-again.C:
		}
	}
}

// Order waits for an Order with a serial above after, and returns the newest.
// Serials of two lives of the node service are not comparable: after an error,
// ask with zero.
func (c *Client) Order(ctx context.Context, after uint64) (Order, error) {
	var o Order
	b, err := c.poll(ctx, "order", after)
	if err != nil {
		return o, err
	}
	if err := strict(b, &o); err != nil {
		return o, fmt.Errorf("ask for the order: %w", err)
	}
	return o, nil
}

// Propose proposes and waits until the outcome is known, or ctx ends: then it is
// unknown, and the proposal may still take effect. A refusal wraps
// cluster.ErrRefused.
func (c *Client) Propose(ctx context.Context, do cluster.Action) (cluster.Result, error) {
	var r cluster.Result
	p, err := encodeProposal(do)
	if err != nil {
		return r, err
	}
	b, err := c.call(ctx, http.MethodPost, "/v1/propose", p)
	if err != nil {
		return r, fmt.Errorf("propose: %w", err)
	}
	if err := strict(b, &r); err != nil {
		return r, fmt.Errorf("propose: %w", err)
	}
	return r, r.Err()
}

// Report gives this service's part of the status: status.Store as "block",
// []status.VM as "vm", status.Citizen as "citizen".
func (c *Client) Report(ctx context.Context, name string, part any) error {
	b, err := json.Marshal(part)
	if err != nil {
		return fmt.Errorf("report of %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerBound)
	defer cancel()
	if _, err := c.call(ctx, http.MethodPut, "/v1/report/"+name, b); err != nil {
		return fmt.Errorf("report of %s: %w", name, err)
	}
	return nil
}

// Status asks for the whole status of the node.
func (c *Client) Status(ctx context.Context) (status.Node, error) {
	var n status.Node
	ctx, cancel := context.WithTimeout(ctx, answerBound)
	defer cancel()
	b, err := c.call(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil {
		return n, fmt.Errorf("ask for the status: %w", err)
	}
	if err := json.Unmarshal(b, &n); err != nil {
		return n, fmt.Errorf("ask for the status: %w", err)
	}
	return n, nil
}

// poll asks until there is news.
func (c *Client) poll(ctx context.Context, what string, after uint64) ([]byte, error) {
	for {
		bound, cancel := context.WithTimeout(ctx, pollBound+pollSlack)
		b, err := c.call(bound, http.MethodGet, "/v1/"+what+"?after="+strconv.FormatUint(after, 10), nil)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("ask for the %s: %w", what, err)
		}
		if b != nil {
			return b, nil
		}
	}
}

// call returns the body of a good answer; nil for one without content.
func (c *Client) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://node"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("answer is longer than %d bytes", maxAnswer)
	case resp.StatusCode == http.StatusNoContent:
		return nil, nil
	case resp.StatusCode == http.StatusOK:
		return b, nil
	}
	e := &Error{}
	if strict(b, e) != nil || e.Message == "" {
		return nil, errors.New(resp.Status)
	}
	return nil, e
}
