package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/tools/lab/remote"
)

func newRemote(lab Lab, m Machine) (*remote.Node, error) { return remote.New(m.API, lab.TokenFile) }

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
	founded, started, said := false, false, ""
	say := func(what string) {
		if said != what {
			said = what
			fmt.Fprint(out, ", ", what)
		}
	}
	for {
		if !started { // the daemon answers once it has switched everything on
			_, err := call(lab, ask{Verb: "links"})
			started = err == nil
		}
		s := gather(ctx, lab)
		if started {
			if err := allRun(lab, s); err != nil {
				fmt.Fprintln(out)
				return err
			}
		}
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
			return fmt.Errorf("the pair did not get ready (%w); look at: %s serial a", context.Cause(ctx), program(lab))
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// lastWords is how much of a log is shown of a machine that went off, lines.
const lastWords = 10

// allRun reports a machine that went off while the pair was to get ready, with what
// its program said last: nobody needs to wait for it.
func allRun(lab Lab, s Status) error {
	for i, n := range s.Nodes {
		if n.State != "off" {
			continue
		}
		m := lab.Nodes[i]
		log := filepath.Join(m.Dir, "logs", "machine.log")
		if m.Mode == "vm" {
			log = filepath.Join(m.Dir, "qemu.log")
		}
		return fmt.Errorf("node %s went off; the end of %s:\n%s\nwhat the machine itself said: %s serial %s", n.Name, log, tail(log, lastWords), program(lab), n.Name)
	}
	return nil
}

// foundByAPI makes the citizen service's group, as the console would.
func foundByAPI(ctx context.Context, r *remote.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	in := api.NewGroup{Name: "citizen", Prefer: "a", Volumes: []cluster.NewVolume{{Name: "data", SizeBytes: citizenBytes}}}
	if err := r.Do(ctx, http.MethodPost, "/groups", in, nil); err != nil {
		return err
	}
	return r.Do(ctx, http.MethodPut, "/service", api.ServiceGroup{Group: "citizen"}, nil)
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
