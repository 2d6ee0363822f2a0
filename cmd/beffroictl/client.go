package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"beffroi.dev/appliance/api"
)

const (
	dialBound  = 10 * time.Second
	callBound  = 60 * time.Second // the node itself gives up after 25 s
	maxAnswer  = 16 << 20
	expectWait = 5 * time.Second // for a node to refuse an upload before its first byte
)

// unreachable is no answer at all.
type unreachable struct {
	where       string
	local       bool
	fingerprint string // of a certificate that is not trusted
	cause       error
}

func (e *unreachable) Error() string { return fmt.Sprintf("%s: %v", e.where, e.cause) }
func (e *unreachable) Unwrap() error { return e.cause }

// client speaks to one node.
type client struct {
	base  string // http://node, or the URL
	where string // for people
	local bool
	token string
	dial  func(ctx context.Context) (net.Conn, error)
	http  *http.Client
}

func newClient(socket string, o options) (*client, error) {
	if o.url == "" {
		c := &client{base: "http://node", where: socket, local: true}
		c.dial = func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", socket) }
		c.connect()
		return c, nil
	}
	u, err := url.Parse(o.url)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("--url %q: use https://HOST:PORT", o.url)
	}
	if o.ca != "" && o.pin != "" {
		return nil, errors.New("--ca and --pin: use one of them")
	}
	c := &client{base: "https://" + u.Host, where: o.url}
	if o.tokenFile != "" {
		b, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		c.token = strings.TrimSpace(string(b))
	}
	cfg, err := trust(o, u.Hostname())
	if err != nil {
		return nil, err
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "443")
	}
	c.dial = func(ctx context.Context) (net.Conn, error) {
		return (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", address)
	}
	c.connect()
	return c, nil
}

// trust says which certificate is believed.
func trust(o options, host string) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	switch {
	case o.ca != "":
		b, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("--ca %s: there is no PEM certificate in it", o.ca)
		}
	case o.pin != "":
		want, err := hex.DecodeString(strings.ReplaceAll(strings.ToLower(o.pin), ":", ""))
		if err != nil || len(want) != sha256.Size {
			return nil, errors.New("--pin: use the 64 hexadecimal digits of a SHA-256 fingerprint, with or without colons")
		}
		cfg.InsecureSkipVerify = true // replaced by the comparison below
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			got := sha256.Sum256(s.PeerCertificates[0].Raw)
			if !bytes.Equal(got[:], want) {
				return fmt.Errorf("the certificate has the fingerprint %x, not the one of --pin", got)
			}
			return nil
		}
	}
	return cfg, nil
}

func (c *client) connect() {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialBound)
		defer cancel()
		return c.dial(ctx)
	}
	c.http = &http.Client{Transport: &http.Transport{DialContext: dial, DialTLSContext: dial, ExpectContinueTimeout: expectWait}}
}

// away wraps the failure of a connection.
func (c *client) away(err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	e := &unreachable{where: c.where, local: c.local, cause: err}
	var u *url.Error
	if errors.As(err, &u) {
		e.cause = u.Err
	}
	var unknown *tls.CertificateVerificationError
	if errors.As(err, &unknown) && len(unknown.UnverifiedCertificates) > 0 {
		e.fingerprint = fmt.Sprintf("%x", sha256.Sum256(unknown.UnverifiedCertificates[0].Raw))
	}
	return e
}

func (c *client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1/"+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path, err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

// send sends a request and returns the answer's body; what is not good comes as
// an *api.Error.
func (c *client) send(req *http.Request) ([]byte, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.away(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.away(err)
	}
	if resp.StatusCode < 300 {
		return b, nil
	}
	return nil, refusal(resp.Status, b)
}

func refusal(status string, b []byte) error {
	e := &api.Error{}
	if json.Unmarshal(b, e) != nil || e.Message == "" {
		return &api.Error{Code: api.Failed, Message: "the answer is not that of a Beffroi node: " + status}
	}
	return e
}

// call is a request with JSON both ways; out may be nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ask for %s: %w", path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	b, err := c.send(req)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(b, out); err != nil {
		return &api.Error{Code: api.Failed, Message: "the answer is not that of a Beffroi node: " + err.Error()}
	}
	return nil
}
