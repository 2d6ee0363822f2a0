package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/quorum/cluster"
)

// remote asks a node over the operator's API: there is no other door into a
// virtual machine.
type remote struct {
	url, token string
	client     *http.Client
}

func newRemote(lab Lab, m Machine) (*remote, error) {
	token, err := os.ReadFile(lab.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("the administrator's token: %w", err)
	}
	// The certificate is the node's own; the lab made the node.
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	return &remote{url: m.API, token: strings.TrimSpace(string(token)), client: &http.Client{Transport: t}}, nil
}

func (r *remote) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.url+"/api/v1"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, strings.TrimSpace(string(b)))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

func (r *remote) status(ctx context.Context) (status.Node, error) {
	var s status.Node
	err := r.do(ctx, http.MethodGet, "/status", nil, &s)
	return s, err
}

// settleVMs waits until two nodes that boot are a pair, gives it the citizen
// service's group, and waits until citizens are served from a mirrored volume.
func settleVMs(ctx context.Context, lab Lab, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, vmReadyBound)
	defer cancel()
	a, err := lab.machine("a")
	if err != nil {
		return err
	}
	r, err := newRemote(lab, a)
	if err != nil {
		return err
	}
	fmt.Fprint(out, "booting")
	founded, said := false, ""
	say := func(what string) {
		if said != what {
			said = what
			fmt.Fprint(out, ", ", what)
		}
	}
	for {
		s := gather(ctx, lab)
		switch {
		case !founded:
			if founded = foundByAPI(ctx, r) == nil; founded {
				say("volumes")
			} else if s.Votes.Leader != "" {
				say("votes")
			}
		case ready(s):
			say("citizens")
			if answers(ctx, lab.Citizen) {
				fmt.Fprintln(out, ".")
				return nil
			}
		}
		select {
		case <-ctx.Done():
			_ = printStatus(out, s, false)
			return fmt.Errorf("the pair did not get ready; look at: lab serial a")
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// foundByAPI makes the citizen service's group, as the console would.
func foundByAPI(ctx context.Context, r *remote) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	in := api.NewGroup{Name: "citizen", Prefer: "a", Volumes: []cluster.NewVolume{{Name: "data", SizeBytes: citizenBytes}}}
	if err := r.do(ctx, http.MethodPost, "/groups", in, nil); err != nil {
		return err
	}
	return r.do(ctx, http.MethodPut, "/service", api.ServiceGroup{Group: "citizen"}, nil)
}

// fingerprint is the option by which beffroictl trusts a node's own certificate.
func fingerprint(url string) string {
	c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return ""
	}
	defer c.Close()
	return fmt.Sprintf(" --pin %x", sha256.Sum256(c.ConnectionState().PeerCertificates[0].Raw))
}
