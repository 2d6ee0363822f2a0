package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/appliance/api"
	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/transport"
	"beffroi.dev/pkg/transport/transporttest"
)

// pair is a real pair with its witness, as processes; each node's API is served by
// this test.
type pair struct {
	t       *testing.T
	binary  string
	service string // where citizens are served
	dirs    map[string]config.Dir
	inits   map[string]*exec.Cmd
}

func newPair(t *testing.T) *pair {
	if testing.Short() {
		t.Skip("a whole pair: some seconds")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("BEFFROI_REQUIRE_TOOLS") == "1" {
			t.Fatalf("QEMU is required: %v", err)
		}
		t.Skip("qemu-system-x86_64 is not installed")
	}
	root, err := os.MkdirTemp("", "pr") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{t: t, binary: filepath.Join(root, "beffroi"), dirs: map[string]config.Dir{}, inits: map[string]*exec.Cmd{}}
	t.Cleanup(func() {
		for name := range p.inits {
			p.kill(name)
		}
		if t.Failed() {
			files, _ := filepath.Glob(filepath.Join(root, "*", "logs", "*.log"))
			for _, f := range files {
				b, _ := os.ReadFile(f)
				t.Logf("%s:\n%s", f, b[max(0, len(b)-4000):])
			}
		}
		_ = os.RemoveAll(root)
	})
	if out, err := exec.Command("go", "build", "-o", p.binary, "../beffroi").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p.configure(root)
	for _, name := range []string{"a", "b", "w"} {
		p.start(name)
	}
	return p
}

func (p *pair) address(name string) []transport.Path {
	return []transport.Path{{Name: name, Addr: transporttest.Addr()}}
}

func (p *pair) configure(root string) {
	var members []config.Member
	var keys []ed25519.PrivateKey
	for i, name := range []string{"a", "b", "w"} {
		public, key, _ := ed25519.GenerateKey(nil)
		m := config.Member{ID: ident.Node(i + 1), Name: name, Kind: cluster.KindNode, Site: name, PublicKey: public, Replica: ident.NewUUID(), VotePaths: p.address("lan"), DataPaths: p.address("fibre1")}
		if name == "w" {
			m.Kind, m.Replica, m.DataPaths = cluster.KindWitness, ident.UUID{}, nil
		} else {
			m.Citizen = transporttest.Addr()
		}
		members, keys = append(members, m), append(keys, key)
	}
	pairID := ident.NewUUID()
	p.service = transporttest.Addr()
	for i, m := range members {
		d := config.Dir(filepath.Join(root, m.Name))
		p.dirs[m.Name] = d
		c := &config.Node{Version: config.Version, Pair: pairID, Self: m.ID, Profile: "lab", Members: members, VoteListen: m.VotePaths, DataListen: m.DataPaths}
		err := os.Mkdir(string(d), 0o700)
		if m.Kind == cluster.KindNode {
			c.Citizen = config.Citizen{Listen: m.Citizen, Service: p.service, Town: "Valmont"}
			c.Store.Path = filepath.Join(string(d), "store")
			err = errors.Join(err, os.WriteFile(c.Store.Path, nil, 0o600), os.Truncate(c.Store.Path, 256<<20))
		}
		if err := errors.Join(err, config.Save(d, c), os.WriteFile(d.Key(), keys[i].Seed(), 0o600)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// start starts a node, and its API.
func (p *pair) start(name string) {
	cmd := exec.Command(p.binary, "init", "--dir", string(p.dirs[name]))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.inits[name] = cmd
	d := p.dirs[name]
	if name == "w" || p.t.Context().Err() != nil {
		return
	}
	if _, err := os.Stat(d.Socket("console")); err == nil {
		return // a former life's API goes on
	}
	a, err := api.New(api.Config{Dir: d, Self: map[string]ident.Node{"a": 1, "b": 2}[name]}, control.NewClient(d.Socket("node")), slog.New(slog.DiscardHandler))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.MkdirAll(d.Run(), 0o700); err != nil {
		p.t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.Socket("console"), Net: "unix"})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = a.ServeLocal(ctx, l) }()
	p.t.Cleanup(func() { cancel(); _ = a.Close() })
}

// kill ends a node with its services, and the guests that outlive those.
func (p *pair) kill(name string) {
	cmd := p.inits[name]
	delete(p.inits, name)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for range 2 { // what was being started meanwhile
		for _, own := range []string{string(p.dirs[name]) + "/", string(p.dirs[name]) + "\x00"} {
			for _, pid := range processes(own) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

// processes finds those with a text among their arguments.
func processes(text string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && pid != os.Getpid() && strings.Contains(string(b), text) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// end kills the one process with a text among its arguments, and returns the time
// until the guest counts again.
func (p *pair) end(node, text string) time.Duration {
	p.t.Helper()
	pids := processes(text)
	if len(pids) != 1 {
		p.t.Fatalf("processes with %q: %v; want one", text, pids)
	}
	_ = syscall.Kill(pids[0], syscall.SIGKILL)
	at := p.count(node)
	return p.await("counting again", func() bool { return p.count(node) > at+20 })
}

// ctl runs beffroictl on a node.
func (p *pair) ctl(node, args string) (int, string, string) {
	return p.run(node, "", strings.Fields(args)...)
}

// run runs beffroictl on a node, with words that may have spaces, and something to read.
func (p *pair) run(node, in string, args ...string) (int, string, string) {
	var out, errs strings.Builder
	prog := &program{in: strings.NewReader(in), out: &out, err: &errs, env: func(string) string { return "" }, now: time.Now, zone: time.UTC, terminal: func(*os.File) bool { return false }}
	code := prog.run(context.Background(), append([]string{"--dir", string(p.dirs[node])}, args...))
	return code, out.String(), errs.String()
}

func (p *pair) must(node, args string) string {
	p.t.Helper()
	code, out, errs := p.ctl(node, args)
	if code != exitOK {
		p.t.Fatalf("%s on %s: exit %d: %s", args, node, code, errs)
	}
	return out
}

func (p *pair) await(what string, ok func() bool) time.Duration {
	p.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > time.Minute {
			_, a, _ := p.ctl("a", "vms")
			_, b, _ := p.ctl("b", "vms")
			p.t.Fatalf("never %s\na: %s\nb: %s", what, a, b)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began).Round(time.Millisecond)
}

var counted = regexp.MustCompile(`(?m)^counter (\d+)\r?\n`)

// count is the last number that the guest printed on a node.
func (p *pair) count(node string) int {
	_, out, _ := p.ctl(node, "vm logs counter")
	all := counted.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(all[len(all)-1][1])
	return n
}

func TestAnOperatorsDay(t *testing.T) {
	p := newPair(t)
	image := filepath.Join(string(p.dirs["a"]), "image")
	boot, err := os.ReadFile("../../tools/counterguest/boot.bin")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, append(boot, make([]byte, 1<<20-len(boot))...), 0o600); err != nil {
		t.Fatal(err)
	}
	p.await("two nodes in touch", func() bool {
		_, a, _ := p.ctl("a", "status")
		return strings.Contains(a, "vouches for this node: yes") && strings.Contains(a, "linked with the twin: yes")
	})
	t.Log(p.must("a", "vm create counter --image "+image+" --memory 64M"))
	t.Logf("counts after %v", p.await("counting", func() bool { return p.count("a") > 20 }))
	t.Log("\n" + p.must("a", "vms") + p.must("a", "groups"))

	qemu := p.dirs["a"].Guests() + "/counter/qmp.sock"
	before := processes(qemu)
	t.Logf("counts %v after the death of the vm service", p.end("a", "\x00vm\x00--dir\x00"+string(p.dirs["a"])+"\x00"))
	if after := processes(qemu); !slices.Equal(before, after) {
		t.Errorf("QEMU was %v, is %v; want it to outlive the vm service", before, after)
	}
	t.Logf("counts %v after the death of QEMU", p.end("a", qemu))

	t.Log(p.must("a", "group prefer counter b"), p.must("a", "group switch counter b"))
	p.await("led by b", func() bool { return regexp.MustCompile(`counter +b `).MatchString(p.must("a", "groups")) })
	at := p.count("a")
	t.Logf("counts on through the switch after %v", p.await("counting", func() bool { return p.count("a") > at }))
	if code, _, errs := p.ctl("a", "group switch counter a"); code != exitRefused || !strings.Contains(errs, "ask node b") {
		t.Errorf("asked of the node that does not lead: exit %d, %s", code, errs)
	}

	said := p.count("a")
	p.kill("a")
	t.Logf("counts on b %v after the death of a", p.await("counting on b", func() bool { return p.count("b") > said }))
	_, out, _ := p.ctl("b", "vm logs counter")
	if first, _ := strconv.Atoi(counted.FindStringSubmatch(out)[1]); first > said+1000 {
		t.Errorf("it resumed at %d; %d was the last said", first, said)
	}
	p.start("a")
	p.await("in sync again", func() bool { return strings.Contains(p.must("b", "groups"), "two copies") })

	t.Log(p.must("b", "vm off counter"))
	p.await("off", func() bool { return strings.Contains(p.must("b", "vms"), "stopped") })
	said = p.count("b")
	p.must("b", "vm start counter")
	p.await("counting again", func() bool { return p.count("b") > said })
	t.Log(p.must("b", "vm delete counter --yes"))
	if out := p.must("b", "groups"); strings.Contains(out, "counter") {
		t.Errorf("its group is still there:\n%s", out)
	}
	p.await("forgotten", func() bool {
		_, err := os.Stat(filepath.Join(p.dirs["b"].Guests(), "counter"))
		return errors.Is(err, os.ErrNotExist)
	})
	t.Log("\n" + p.must("b", "events"))
}
