package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/tools/histories/rig"
)

// refusal runs a program that must end by itself with an exit code, and returns
// what it said.
func refusal(t *testing.T, r *rig.Rig, code int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(r.Bin, "beffroi"), args...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != code {
		t.Errorf("beffroi %v ended with %v, not with exit code %d:\n%s", args, err, code, out)
	}
	return string(out)
}

func wants(t *testing.T, said string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("it does not say %q:\n%s", w, said)
		}
	}
}

// TestAPairRefusesWhatIsNotItsOwn holds one pair against wrong stores,
// configurations and messages. Citizens file all the while.
func TestAPairRefusesWhatIsNotItsOwn(t *testing.T) {
	r := newRig(t)
	c := file(t, r)
	for _, scene := range []struct {
		name string
		play func(*testing.T, *rig.Rig)
	}{
		{"a second process on a store is told who holds it", secondProcess},
		{"garbage on every socket is dropped", garbage},
		{"an unknown key of the configuration is refused", unknownKey},
		{"a store of another pair is refused and left untouched", otherPair},
	} {
		t.Run(scene.name, func(t *testing.T) {
			scene.play(t, r)
			c.goOn(t, 30*time.Second)
		})
	}
	settled(t, r)
	c.readBack(t)
}

func secondProcess(t *testing.T, r *rig.Rig) {
	dir := r.Node("a").Dir
	wants(t, refusal(t, r, 1, "block", "--dir", dir), "device is in use by another process (held by process ", ", beffroi)")
	s, err := r.Status()
	if err != nil {
		t.Fatal(err)
	}
	if s.Volume(citizenVolume).State != "mirrored" {
		t.Errorf("the second process disturbed the first: %+v", s)
	}
}

// powerOff kills a node and waits until its twin leads alone, so that what is done
// to the node's files meets no service.
func powerOff(t *testing.T, r *rig.Rig, node string) {
	t.Helper()
	settled(t, r)
	do(t, r, "kill", node)
	solo(t, r, rig.Twin(node))
}

func unknownKey(t *testing.T, r *rig.Rig) {
	powerOff(t, r, "b")
	path := config.Dir(r.Node("b").Dir).Config()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Replace(good, []byte("{"), []byte(`{"mirror_mode": "fast",`), 1)
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	wants(t, refusal(t, r, 2, "init", "--dir", r.Node("b").Dir), "mirror_mode")
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, r, "start", "b")
	settled(t, r)
}

// otherPair gives node b's store to a node of another pair, which is node b with
// another pair's number in its configuration.
func otherPair(t *testing.T, r *rig.Rig) {
	powerOff(t, r, "b")
	d := config.Dir(r.Node("b").Dir)
	n, err := config.Load(d)
	if err != nil {
		t.Fatal(err)
	}
	store := n.Store.Path
	before, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	n.Pair = ident.NewUUID()
	other := config.Dir(t.TempDir())
	if err := os.MkdirAll(other.Run(), 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(d.Key())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other.Key(), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.Save(other, n); err != nil {
		t.Fatal(err)
	}
	wants(t, refusal(t, r, 1, "block", "--dir", string(other)), "store belongs to another pair")
	after, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("the refused store was changed")
	}
	do(t, r, "start", "b")
	settled(t, r)
}

// ports lists where the machines listen over TCP: the targets of all links, and
// their own HTTP addresses.
func ports(r *rig.Rig) []string {
	seen := map[string]bool{}
	for _, n := range r.Nodes {
		for _, l := range n.Links {
			seen[l.Target] = true
		}
		for _, url := range []string{n.API, n.Citizen, r.Citizen} {
			if _, host, ok := strings.Cut(url, "://"); ok {
				seen[host] = true
			}
		}
	}
	var all []string
	for p := range seen {
		all = append(all, p)
	}
	return all
}

// garbage throws noise, an endless line and an oversize length at every socket.
// Each connection must be ended or ignored, and every service must live on.
func garbage(t *testing.T, r *rig.Rig) {
	before := pids(t, r)
	rng := rand.NewChaCha8([32]byte{7})
	noise := make([]byte, 64<<10)
	_, _ = rng.Read(noise)
	inputs := [][]byte{
		noise, bytes.Repeat([]byte("A"), 1<<20), bytes.Repeat([]byte{0xff}, 4096), {0, 0, 0, 0}, {},
		[]byte("GET /" + strings.Repeat("x", 100<<10) + " HTTP/1.1\r\n\r\n"),
		[]byte("POST /v1/propose HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{"),
		{0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3}, // the head of an oversize ClientHello
	}
	tried := 0
	throw := func(network, address string) {
		for _, in := range inputs {
			conn, err := net.DialTimeout(network, address, 2*time.Second)
			if errors.Is(err, syscall.EPROTOTYPE) {
				conn, err = net.DialTimeout("unixgram", address, 2*time.Second)
			}
			if err != nil {
				t.Errorf("%s %s does not listen: %v", network, address, err)
				return
			}
			_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = conn.Write(in) // it may be closed on us, which is what is wanted
			if conn.LocalAddr().Network() != "unixgram" {
				_, _ = io.Copy(io.Discard, conn)
			}
			_ = conn.Close()
			tried++
		}
	}
	for _, p := range ports(r) {
		throw("tcp", p)
	}
	for _, n := range r.Nodes {
		sockets, err := filepath.Glob(filepath.Join(n.Dir, "run", "*.sock"))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sockets {
			throw("unix", s)
		}
	}
	t.Logf("%d pieces of garbage thrown", tried)
	s := settled(t, r)
	if after := pids(t, r); after != before {
		t.Errorf("some services were restarted: processes were %s and are %s; %+v", before, after, s)
	}
}

// pids prints the processes of all machines.
func pids(t *testing.T, r *rig.Rig) string {
	t.Helper()
	s, err := r.Status()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]int{}
	for _, n := range s.Nodes {
		all[n.Name] = n.PIDs
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
