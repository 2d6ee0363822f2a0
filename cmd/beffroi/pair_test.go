package main_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/control"
	"beffroi.dev/appliance/fence"
	"beffroi.dev/appliance/parent"
	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/quorum/lease"
	"beffroi.dev/pkg/transport"
	"beffroi.dev/pkg/transport/transporttest"
)

// town is a pair and a witness as real processes on loopback.
type town struct {
	t      *testing.T
	binary string
	dirs   map[string]config.Dir
	procs  map[string]*exec.Cmd
}

var names = []string{"a", "b", "w"}

func newTown(t *testing.T) *town {
	if testing.Short() {
		t.Skip("real processes: some seconds")
	}
	root, err := os.MkdirTemp("", "bef") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	w := &town{t: t, binary: filepath.Join(root, "beffroi"), dirs: map[string]config.Dir{}, procs: map[string]*exec.Cmd{}}
	t.Cleanup(func() {
		for _, n := range names {
			w.kill(n)
		}
		if t.Failed() {
			w.logs()
		}
		_ = os.RemoveAll(root)
	})
	if out, err := exec.Command("go", "build", "-o", w.binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	w.configure(root)
	return w
}

func (w *town) configure(root string) {
	pair := ident.NewUUID()
	var members []config.Member
	keys := map[string]ed25519.PrivateKey{}
	for i, n := range names {
		public, key, _ := ed25519.GenerateKey(nil)
		keys[n] = key
		m := config.Member{ID: ident.Node(i + 1), Name: n, Kind: cluster.KindNode, Site: n, PublicKey: public, Replica: ident.NewUUID(),
			VotePaths: []transport.Path{{Name: "lan", Addr: transporttest.Addr()}}}
		if n == "w" {
			m.Kind, m.Replica = cluster.KindWitness, ident.UUID{}
		}
		members = append(members, m)
	}
	for i, n := range names {
		d := config.Dir(filepath.Join(root, n))
		w.dirs[n] = d
		if err := os.Mkdir(string(d), 0o700); err != nil {
			w.t.Fatal(err)
		}
		c := &config.Node{Version: config.Version, Pair: pair, Self: members[i].ID, Profile: "lab", Members: members, VoteListen: members[i].VotePaths}
		if err := errors.Join(config.Save(d, c), os.WriteFile(d.Key(), keys[n].Seed(), 0o600)); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *town) logs() {
	files, _ := filepath.Glob(filepath.Join(filepath.Dir(w.binary), "*", "*.log"))
	more, _ := filepath.Glob(filepath.Join(filepath.Dir(w.binary), "*", "logs", "*.log"))
	for _, f := range append(files, more...) {
		b, _ := os.ReadFile(f)
		w.t.Logf("%s:\n%s", f, b)
	}
}

func (w *town) start(name string) {
	w.t.Helper()
	w.run(name, map[string]string{"a": "node", "b": "node", "w": "witness"}[name])
}

func (w *town) run(name, command string) {
	w.t.Helper()
	out, err := os.OpenFile(filepath.Join(string(w.dirs[name]), "out.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(w.binary, command, "--dir", string(w.dirs[name]))
	cmd.Stderr = out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.procs[name] = cmd
}

func (w *town) kill(name string) {
	if p := w.procs[name]; p != nil {
		_ = p.Process.Kill()
		_ = p.Wait()
		delete(w.procs, name)
	}
}

func (w *town) ctl(name string) *control.Client {
	return control.NewClient(w.dirs[name].Socket("node"))
}

func (w *town) await(what string, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited too long for %s", what)
		}
	}
}

func (w *town) status(name string) status.Node {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
	defer cancel()
	s, _ := w.ctl(name).Status(ctx) // one that does not answer knows nothing
	return s
}

// propose tries until it is accepted.
func (w *town) propose(name string, do cluster.Action) cluster.Result {
	w.t.Helper()
	var res cluster.Result
	w.await("a proposal by "+name, func() bool {
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		defer cancel()
		r, err := w.ctl(name).Propose(ctx, do)
		if errors.Is(err, cluster.ErrRefused) {
			w.t.Fatalf("propose %T by %s: %v", do, name, err)
		}
		res = r
		return err == nil
	})
	return res
}

func record(kind string) cluster.Action { return &cluster.Record{Event: cluster.Event{Kind: kind}} }

// leader is whom both nodes follow.
func (w *town) leader(ask ...string) string {
	var id ident.Node
	for _, n := range ask {
		l := w.status(n).Votes.Leader
		if l == 0 || id != 0 && l != id {
			return ""
		}
		id = l
	}
	return names[id-1]
}

func TestThePairGoesOnWhileAnyOneOfThreeProcessesIsKilled(t *testing.T) {
	w := newTown(t)
	for _, n := range names {
		w.start(n)
	}
	w.await("a leader", func() bool { return w.leader("a", "b") != "" })
	for i, victim := range names {
		survivor := []string{"b", "a", "a"}[i]
		w.propose(survivor, record("before"))
		w.kill(victim)
		w.propose(survivor, record("without-"+victim))
		w.start(victim)
		w.await("everybody to agree", func() bool {
			a, b := w.status("a"), w.status("b")
			return a.Votes.Vouched && b.Votes.Vouched && a.Votes.Index == b.Votes.Index && len(a.Members) == 3 && a.Members[1].Up && a.Members[2].Up
		})
	}
	s, err := w.ctl("b").State(t.Context(), 0)
	if err != nil || len(s.Events) < 6 {
		t.Errorf("state %+v, %v; want all six events", s, err)
	}
	if n := w.status("a"); n.Kind != "node" || n.Name != "a" || len(n.Links) != 2 || !n.Links[0].Up || len(n.Events) < 6 {
		t.Errorf("status %+v; want node a with two links up and the events", n)
	}
}

func TestTheTimeFromTheLeadersDeathToTheNextAcceptedProposal(t *testing.T) {
	w := newTown(t)
	for _, n := range names {
		w.start(n)
	}
	var took []time.Duration
	for range 5 {
		w.await("everybody to agree", func() bool {
			a, b := w.status("a"), w.status("b")
			return w.leader("a", "b") != "" && a.Votes.Vouched && b.Votes.Vouched && a.Votes.Index == b.Votes.Index
		})
		if w.leader("a", "b") == "w" { // not what is measured here
			w.kill("w")
			w.await("a node to lead", func() bool { l := w.leader("a", "b"); return l == "a" || l == "b" })
			w.start("w")
			w.await("the witness", func() bool { return w.status("a").Members[2].Up && w.status("b").Members[2].Up })
		}
		victim := w.leader("a", "b")
		survivor := map[string]string{"a": "b", "b": "a"}[victim]
		began := time.Now()
		w.kill(victim)
		w.propose(survivor, record("without-the-leader"))
		took = append(took, time.Since(began).Round(time.Millisecond))
		w.start(victim)
	}
	slices.Sort(took)
	t.Logf("profile lab, kill -9 of the leading node service to the next accepted proposal: %v", took)
}

func TestAPlannedStopHandsLeadershipOver(t *testing.T) {
	w := newTown(t)
	for _, n := range names {
		w.start(n)
	}
	w.await("a leader among the nodes", func() bool {
		l := w.leader("a", "b")
		if l == "w" {
			w.kill("w")
			w.await("a node to lead", func() bool { l := w.leader("a", "b"); return l == "a" || l == "b" })
			w.start("w")
		}
		return (l == "a" || l == "b") && w.status("a").Members[2].Up
	})
	old := w.leader("a", "b")
	other := map[string]string{"a": "b", "b": "a"}[old]
	term := w.status(other).Votes.Term
	p := w.procs[old]
	delete(w.procs, old)
	_ = p.Process.Signal(syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Errorf("the stopped one ended with %v; want exit code 0", err)
	}
	if n := w.status(other); n.Votes.Leader == 0 || names[n.Votes.Leader-1] == old || n.Votes.Term != term+1 {
		t.Errorf("leader %v in term %d after the stop of %s in term %d; want another one already, by one vote", n.Votes.Leader, n.Votes.Term, old, term)
	}
}

// fakeQEMU is a process with a run.json that names it.
func fakeQEMU(t *testing.T, folder string) (pid int, ended chan struct{}) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "120")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	start, err := strconv.ParseUint(strings.Fields(string(b[strings.LastIndex(string(b), ")")+1:]))[19], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	run, _ := json.Marshal(map[string]any{"version": 1, "pid": cmd.Process.Pid, "start_time": start})
	if err := os.WriteFile(filepath.Join(folder, "run.json"), run, 0o600); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, ended
}

// The vm service's place is taken by the test: it reports and obeys nothing.
func TestAGuestOutlivesItsNodeServiceAndDiesWithoutAMajority(t *testing.T) {
	w := newTown(t)
	w.start("b")
	w.start("w")
	d := w.dirs["a"]
	node, err := config.Load(d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	go func() {
		ended <- parent.Run(ctx, parent.Config{Dir: d, Binary: w.binary, Has: func(s string) bool { return s == "node" }}, node, func() {}, quiet)
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("init ended with %v", err)
		}
	}()
	g := w.propose("a", &cluster.CreateGroup{Name: "mairie", Preferred: 1, Durability: cluster.Strict, Volumes: []cluster.NewVolume{{Name: "disk", SizeBytes: 1 << 20}}})
	m := w.propose("a", &cluster.CreateVM{Name: "mairie", Group: g.Group, CPUs: 1, MemoryMB: 64, Firmware: "bios", Run: true})
	w.propose("a", &cluster.PlaceVM{VM: m.VM, Node: 1, Cause: "first start"})
	pid, died := fakeQEMU(t, filepath.Join(d.Guests(), "mairie"))
	report := func() {
		_ = w.ctl("a").Report(t.Context(), "vm", []status.VM{{ID: m.VM, Name: "mairie", State: "running", PID: pid, Generation: 1}})
	}
	ordered := func() bool {
		report()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		o, err := w.ctl("a").Order(ctx, 0)
		return err == nil && len(o.Run) == 1 && o.Run[0] == control.VMOrder{VM: m.VM, Generation: 1}
	}
	w.await("the order to run it", ordered)
	w.await("init to know of it", func() bool { r, ok := fence.Kept(d); return ok && len(r.Guests) == 1 })

	for range 3 { // each time a new life of the node service adopts the guest
		old := servicePID(t, d, "node")
		_ = syscall.Kill(old, syscall.SIGKILL)
		w.await("another node service", func() bool { p := servicePID(t, d, "node"); return p != 0 && p != old })
		w.await("the order to let it run", ordered)
	}
	if s, err := w.ctl("a").State(t.Context(), 0); err != nil || s.VMs[m.VM].Generation != 1 {
		t.Errorf("state %v, %v; want the first generation still", s, err)
	}
	select {
	case <-died:
		t.Fatal("the guest died while a majority vouched for its node")
	default:
	}
	began := time.Now()
	w.kill("b")
	w.kill("w")
	timing := lease.Lab()
	select {
	case <-died:
	case <-time.After(timing.Fence + timing.Margin):
		t.Fatal("the guest lives past its fence and margin")
	}
	t.Logf("profile lab: the guest was killed %v after the majority went (fence %v, margin %v)", time.Since(began).Round(time.Millisecond), timing.Fence, timing.Margin)
	w.await("an order without guests", func() bool {
		o, err := w.ctl("a").Order(t.Context(), 0)
		return err == nil && len(o.Run) == 0 && !o.Vouched
	})
}

// servicePID finds a service of a folder by its command line.
func servicePID(t *testing.T, d config.Dir, service string) int {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		b, _ := os.ReadFile(f) // it may be gone by now
		if args := strings.Split(string(b), "\x00"); len(args) > 3 && args[1] == service && args[3] == string(d) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			return pid
		}
	}
	return 0
}
