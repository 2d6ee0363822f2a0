package agents

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// maxAnswer bounds what is read: some ten thousand agents.
const maxAnswer = 4 << 20

// Client asks the citizen service of this node.
type Client struct{ http *http.Client }

// NewClient makes a client of the socket; nothing is dialled yet.
func NewClient(socket string) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // few requests, and the service restarts
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// List returns all agents, those who may log in first.
func (c *Client) List(ctx context.Context) (list []Agent, err error) {
	return list, c.call(ctx, http.MethodGet, "", nil, &list)
}

// Create makes an agent.
func (c *Client) Create(ctx context.Context, n New) (e Enrolment, err error) {
	return e, c.call(ctx, http.MethodPost, "", n, &e)
}

// Renew gives an agent a new password, a new secret, or both; the sessions end.
func (c *Client) Renew(ctx context.Context, name string, r Renewal) (e Enrolment, err error) {
	return e, c.call(ctx, http.MethodPost, "/"+url.PathEscape(name)+"/renew", r, &e)
}

// Reopen lets a closed agent log in again.
func (c *Client) Reopen(ctx context.Context, name string, r Renewal) (e Enrolment, err error) {
	return e, c.call(ctx, http.MethodPost, "/"+url.PathEscape(name)+"/reopen", r, &e)
}

// Close ends an agent's sessions and logins; false if it was so already.
func (c *Client) Close(ctx context.Context, name, by string) (bool, error) {
	var done Closed
	err := c.call(ctx, http.MethodPost, "/"+url.PathEscape(name)+"/close", Closing{By: by}, &done)
	return done.Changed, err
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ask the citizen service: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://citizen/v1/agents"+path, body)
	if err != nil {
		return fmt.Errorf("ask the citizen service: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("ask the citizen service: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask the citizen service: %w", err)
	}
	if resp.StatusCode >= 300 {
		e := &Error{}
		if json.Unmarshal(b, e) != nil || e.Code == "" {
			return fmt.Errorf("ask the citizen service: it answers %s", resp.Status)
		}
		return e
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("ask the citizen service: %w", err)
	}
	return nil
}
