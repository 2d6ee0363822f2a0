package main_test

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/pairing"
	"beffroi.dev/pkg/host/netcfg"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/transport/transporttest"
)

// A witness of an empty folder shows its code, is founded, and votes in one life.
func TestAWitnessJoinsAPairAndVotes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program: some seconds")
	}
	root, err := os.MkdirTemp("", "bef") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	program := filepath.Join(root, "beffroi")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir := filepath.Join(root, "w")
	var nodes []*pairing.Engine
	var addresses []string
	ended := make(chan error, 2)
	for range 2 {
		listen, dir := transporttest.Addr(), t.TempDir()
		e, err := pairing.New(pairing.Config{
			Dir: config.Dir(dir), Kind: cluster.KindNode, Release: "1", Listen: listen, Store: filepath.Join(dir, "store"),
			About: func(a *pairing.About) {
				a.Lan, a.Fibres = netcfg.Lan{Port: "#0", Mode: netcfg.ModeDHCP}, []pairing.FibrePort{{Name: "fibre1", Port: "#1"}}
			},
			Networks: func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")} },
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		go func() { ended <- e.Run(t.Context()) }()
		nodes, addresses = append(nodes, e), append(addresses, listen)
	}
	at := transporttest.Addr()
	witness := exec.Command(program, "witness", "--join", "--dir", dir, "--listen", at)
	out, err := witness.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	witness.Stderr = os.Stderr
	if err := witness.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = witness.Process.Kill(); _ = witness.Wait() })
	code := ""
	for lines := bufio.NewScanner(out); code == "" && lines.Scan(); {
		code = regexp.MustCompile(`[2-9A-Z]{4}-[2-9A-Z]{4}`).FindString(lines.Text())
	}
	await := func(what string, f func() error) {
		t.Helper()
		var err error
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if err = f(); err == nil {
				return
			}
		}
		t.Fatalf("never: %s: %v", what, err)
	}
	r := pairing.Request{Town: "Test", Here: "here", There: "there", Service: netip.MustParsePrefix("10.0.0.9/24"), Profile: "lab"}
	if err := nodes[0].Begin(r); err != nil {
		t.Fatal(err)
	}
	await("the twin is met", func() error {
		return nodes[0].Meet(t.Context(), cluster.KindNode, nodes[1].Status().Code, addresses[1])
	})
	await("the witness is met", func() error { return nodes[0].Meet(t.Context(), cluster.KindWitness, code, at) })
	if err := nodes[0].Found(); err != nil {
		t.Fatal(err)
	}
	for range nodes {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", config.Dir(dir).Socket("witness"))
	}}}
	await("the witness votes", func() error {
		res, err := client.Get("http://witness/status")
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	})
	if err := witness.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := witness.Wait(); err != nil {
		t.Errorf("it ends with %v; want in order", err)
	}
}
