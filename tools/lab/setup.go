package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// How long lab up waits for the pair: processes, and machines that are emulated.
const (
	readyBound   = 60 * time.Second
	vmReadyBound = 10 * time.Minute
)

// citizenBytes is the size of the citizen service's volume in the lab.
const citizenBytes = 256 << 20

// settle waits until the pair votes, gives it what a new pair lacks (the citizen
// service's group), and waits until citizens are served from a mirrored volume.
func settle(ctx context.Context, lab Lab, out io.Writer) error {
	if lab.Mode == "vm" {
		return settleVMs(ctx, lab, out)
	}
	ctx, cancel := context.WithTimeout(ctx, readyBound)
	defer cancel()
	a, err := lab.machine("a")
	if err != nil {
		return err
	}
	ctl := control.NewClient(a.Control)
	fmt.Fprint(out, "starting: votes")
	st, err := ctl.Watch(ctx, 0)
	if err != nil {
		return fmt.Errorf("node a does not answer: %w", err)
	}
	if st.Service.Group == 0 {
		if err := found(ctx, ctl, a.ID); err != nil {
			return err
		}
	}
	fmt.Fprint(out, ", volumes")
	for {
		s := gather(ctx, lab)
		if ready(s) {
			fmt.Fprint(out, ", citizens")
			if answers(ctx, lab.Citizen) {
				fmt.Fprintln(out, ".")
				return nil
			}
		}
		select {
		case <-ctx.Done():
			_ = printStatus(out, s, false)
			return fmt.Errorf("the pair did not get ready: %w", context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// found makes the citizen service's group.
func found(ctx context.Context, ctl *control.Client, preferred ident.Node) error {
	var err error
	for ctx.Err() == nil {
		var res cluster.Result
		res, err = ctl.Propose(ctx, &cluster.CreateGroup{
			Name: "citizen", Preferred: preferred, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "data", SizeBytes: citizenBytes}},
		})
		if err == nil {
			_, err = ctl.Propose(ctx, &cluster.SetService{Group: res.Group})
			return err
		}
		// A pair that starts again may have shown a state from before its group.
		if st, serr := ctl.Watch(ctx, 0); serr == nil && st.Service.Group != 0 {
			return nil
		}
		if errors.Is(err, cluster.ErrRefused) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("make the citizen service's group: %w", err)
}

func ready(s Status) bool {
	for _, n := range s.Nodes {
		if !n.Ready {
			return false
		}
	}
	for _, v := range s.Volumes {
		if v.State != "mirrored" {
			return false
		}
	}
	return len(s.Volumes) > 0 && s.Citizen != ""
}

func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func printHelp(lab Lab, out io.Writer) {
	password, _ := os.ReadFile(lab.Password)
	fmt.Fprintf(out, `
  Citizens   %[1]s
  Console    %[2]s   user admin, password %[3]s
             %[4]s   (the same, on node b)

Five things to try:
  1. File a report as a citizen, then:  %[6]s kill a   and file another one.
  2. %[6]s status                     who leads, what is in sync; %[6]s start a brings the node back.
  3. %[6]s cut fibre1; %[6]s cut fibre2     the primary goes on alone by vote; heal them and watch the resync.
  4. bin/beffroictl %[5]s vm create compteur --image out/counter.img   a guest that counts; kill its node.
  5. %[6]s pause a; sleep 30; %[6]s resume a    a node that slept changes nothing.
Stop with: %[6]s down
`, lab.Citizen, lab.Console[0], strings.TrimSpace(string(password)), lab.Console[1], door(lab), program(lab))
	if lab.Mode == "vm" {
		fmt.Fprintf(out, "The serial line of a node: %s serial a (what it said), or connect to %s\n", program(lab), lab.Nodes[0].Serial)
	}
}

// door is how beffroictl reaches node a.
func door(lab Lab) string {
	if lab.Mode == "vm" {
		return "--url " + lab.Nodes[0].API + " --token-file " + lab.TokenFile + fingerprint(lab.Nodes[0].API)
	}
	return "--dir " + lab.Nodes[0].Dir
}

// program is how this lab is called from where it was started.
func program(lab Lab) string {
	here, err := os.Getwd()
	if rel, rerr := filepath.Rel(here, lab.Dir); err == nil && rerr == nil && rel != "out/lab" {
		return "bin/lab --dir " + rel
	}
	return "bin/lab"
}
