package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"beffroi.dev/appliance/control"
	"beffroi.dev/tools/histories/rig"
)

// settleBound is how long the pair may take until everything is mirrored again.
const settleBound = time.Minute

var programs struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(programs.dir)
	os.Exit(code)
}

// newRig starts a lab of the test's own, in a folder with a short name: socket
// paths are bounded. All tests share the programs.
func newRig(t *testing.T) *rig.Rig {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a lab")
	}
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "labbin"); programs.err == nil {
			programs.err = rig.Build(context.Background(), programs.dir)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	r, err := rig.Start(context.Background(), dir, programs.dir, "--store", "512")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Down(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the lab's folder is kept: %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return r
}

func do(t *testing.T, r *rig.Rig, args ...string) {
	t.Helper()
	if _, err := r.Do(args...); err != nil {
		t.Fatal(err)
	}
}

func settled(t *testing.T, r *rig.Rig) rig.Status {
	t.Helper()
	s, err := r.Settled(context.Background(), settleBound)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const citizenVolume = "citizen/data"

// solo waits until a node leads the citizens' volume alone.
func solo(t *testing.T, r *rig.Rig, node string) {
	t.Helper()
	_, err := r.Until(context.Background(), 20*time.Second, node+" leads alone", func(s rig.Status) bool {
		v := s.Volume(citizenVolume)
		return v.Primary == node && v.State == "solo" && len(v.InSync) == 1 && s.Citizen == node
	})
	if err != nil {
		t.Fatal(err)
	}
}

// serving names the nodes whose store answers for some group.
func serving(t *testing.T, r *rig.Rig) []string {
	t.Helper()
	var names []string
	for _, n := range r.Nodes {
		if n.Control == "" {
			continue
		}
		s, err := control.NewClient(n.Control).Status(context.Background())
		if err != nil || s.Store == nil {
			continue
		}
		for _, g := range s.Store.Groups {
			if g.Serving && g.Readable {
				names = append(names, n.Name)
			}
		}
	}
	return names
}

// TestThePairGoesOn is what an operator does to a pair, one thing after another
// on one lab.
func TestThePairGoesOn(t *testing.T) {
	r := newRig(t)
	for _, scene := range []struct {
		name string
		play func(*testing.T, *rig.Rig)
	}{
		{"without a witness and fibres the primary goes solo by vote over the lan", fibresCut},
		{"without a witness and any path nothing is acknowledged until it is healed", allCut},
		{"a survivor goes on when the witness dies after the twin", twinThenWitness},
		{"citizens' service stays open while the twin dies and returns", twinReturns},
		{"nothing is lost when both die and come back in the opposite order", bothDie},
		{"a frozen node that thaws changes nothing", freezeAndThaw},
		{"a planned switch is hardly noticed", plannedSwitch},
		{"a citizen service that slept through a switch there and back opens its volume anew", sleepsThroughReign},
		{"the drill passes on each node", drillBoth},
	} {
		ok := t.Run(scene.name, func(t *testing.T) {
			settled(t, r)
			scene.play(t, r)
			settled(t, r)
		})
		if !ok {
			return // the lab is in an unknown state
		}
	}
}

func fibresCut(t *testing.T, r *rig.Rig) {
	primary := settled(t, r).Volume(citizenVolume).Primary
	c := file(t, r)
	c.goOn(t, 10*time.Second)
	do(t, r, "kill", "witness")
	c.goOn(t, 10*time.Second)
	do(t, r, "cut", "fibre1")
	do(t, r, "cut", "fibre2")
	solo(t, r, primary)
	c.goOn(t, 10*time.Second)
	do(t, r, "heal", "fibre1")
	do(t, r, "heal", "fibre2")
	do(t, r, "start", "witness")
	settled(t, r)
	c.goOn(t, 10*time.Second)
	c.readBack(t)
}

func allCut(t *testing.T, r *rig.Rig) {
	c := file(t, r)
	c.goOn(t, 10*time.Second)
	do(t, r, "kill", "witness")
	c.goOn(t, 10*time.Second)
	links := []string{"fibre1", "fibre2", "lan-b"}
	for _, l := range links {
		do(t, r, "cut", l)
	}
	cut := time.Now()
	for time.Since(cut) < 5*time.Second {
		if n := c.Since(cut); n > 0 {
			t.Fatalf("%d reports that were sent after the cut were acknowledged", n)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if who := serving(t, r); len(who) > 1 {
		t.Errorf("stores of %v answer at the same time", who)
	}
	for _, l := range links {
		do(t, r, "heal", l)
	}
	c.goOn(t, 30*time.Second)
	do(t, r, "start", "witness")
	settled(t, r)
	c.readBack(t)
}

func twinThenWitness(t *testing.T, r *rig.Rig) {
	c := file(t, r)
	c.goOn(t, 10*time.Second)
	do(t, r, "kill", "b")
	solo(t, r, "a")
	do(t, r, "kill", "witness")
	killed := time.Now()
	c.goOn(t, 20*time.Second)
	for time.Since(killed) < 5*time.Second { // beyond every lease
		c.goOn(t, 10*time.Second)
	}
	do(t, r, "start", "witness")
	do(t, r, "start", "b")
	settled(t, r)
	c.goOn(t, 10*time.Second)
	c.readBack(t)
}

// twinReturns takes the twin of the serving node away and gives it back: the volume goes
// through two epochs, and the same database stays open at the same address.
func twinReturns(t *testing.T, r *rig.Rig) {
	before := settled(t, r)
	serves, twin := before.Citizen, rig.Twin(before.Citizen)
	times := opened(t, r, serves)
	c := file(t, r)
	c.goOn(t, 10*time.Second)
	do(t, r, "kill", twin)
	solo(t, r, serves)
	c.goOn(t, 10*time.Second)
	do(t, r, "start", twin)
	after := settled(t, r)
	c.goOn(t, 10*time.Second)
	c.readBack(t)
	if was, is := before.Volume(citizenVolume), after.Volume(citizenVolume); after.Citizen != serves || is.Primary != was.Primary || is.Epoch < was.Epoch+2 {
		t.Fatalf("%s served from %+v, and now %s from %+v: this was another story", serves, was, after.Citizen, is)
	}
	if now := opened(t, r, serves); now != times || times == 0 {
		t.Errorf("node %s opened the citizens' service %d times before, %d after", serves, times, now)
	}
}

// opened counts how often a node has opened the citizens' service.
func opened(t *testing.T, r *rig.Rig, node string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.Dir, node, "logs", "citizen.log"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), `"citizens are served here"`)
}

// sleepsThroughReign freezes the citizen service alone, under load. Its node hands the
// volume over and gets it back; the service, when it thaws, knows nothing of that.
func sleepsThroughReign(t *testing.T, r *rig.Rig) {
	ctx, s := context.Background(), settled(t, r)
	from, to := s.Citizen, rig.Twin(s.Citizen)
	group, err := r.Group(ctx, from, "citizen")
	if err != nil {
		t.Fatal(err)
	}
	c := file(t, r)
	c.goOn(t, 10*time.Second)
	times, pid := opened(t, r, from), serviceOf(t, r, from, "citizen")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	for _, way := range [][2]string{{from, to}, {to, from}} {
		if err := r.Switch(ctx, group, way[0], way[1]); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Until(ctx, 20*time.Second, way[1]+" leads", func(s rig.Status) bool {
			v := s.Volume(citizenVolume)
			return v.Primary == way[1] && v.State == "mirrored"
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	c.goOn(t, 20*time.Second)
	c.readBack(t)
	if now := opened(t, r, from); now <= times {
		t.Errorf("node %s opened the citizens' service %d times before the switches, %d after: it goes on with what it remembers", from, times, now)
	}
}

// serviceOf finds the process of a service of a node.
func serviceOf(t *testing.T, r *rig.Rig, node, service string) int {
	t.Helper()
	s, err := r.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes {
		for _, pid := range n.PIDs {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err == nil && n.Name == node && strings.Contains(string(b), "\x00"+service+"\x00") {
				return pid
			}
		}
	}
	t.Fatalf("node %s has no process of the service %s", node, service)
	return 0
}

func bothDie(t *testing.T, r *rig.Rig) {
	c := file(t, r)
	c.goOn(t, 10*time.Second)
	do(t, r, "kill", "a")
	solo(t, r, "b")
	c.goOn(t, 20*time.Second)
	do(t, r, "kill", "b")
	do(t, r, "start", "a") // which lacks what b took alone
	started := time.Now()
	for time.Since(started) < 3*time.Second {
		if n := c.Since(started); n > 0 {
			t.Fatalf("node a alone acknowledged %d reports although b has newer ones", n)
		}
		time.Sleep(50 * time.Millisecond)
	}
	do(t, r, "start", "b")
	settled(t, r)
	c.goOn(t, 20*time.Second)
	c.readBack(t)
}

func freezeAndThaw(t *testing.T, r *rig.Rig) {
	s := settled(t, r)
	frozen, twin := s.Citizen, rig.Twin(s.Citizen)
	c := file(t, r)
	c.goOn(t, 10*time.Second)
	do(t, r, "pause", frozen)
	asleep := time.Now()
	solo(t, r, twin)
	for time.Since(asleep) < 30*time.Second {
		c.goOn(t, 20*time.Second)
	}
	do(t, r, "resume", frozen)
	c.goOn(t, 20*time.Second)
	s = settled(t, r)
	c.goOn(t, 20*time.Second)
	if v := s.Volume(citizenVolume); len(v.InSync) != 2 {
		t.Errorf("after the thaw %v are in sync, not both", v.InSync)
	}
	if who := serving(t, r); len(who) != 1 {
		t.Errorf("stores of %v answer, not of exactly one node", who)
	}
	c.readBack(t)
}

func plannedSwitch(t *testing.T, r *rig.Rig) {
	s := settled(t, r)
	from, to := s.Volume(citizenVolume).Primary, rig.Twin(s.Volume(citizenVolume).Primary)
	group, err := r.Group(context.Background(), from, "citizen")
	if err != nil {
		t.Fatal(err)
	}
	c := file(t, r)
	c.goOn(t, 10*time.Second)
	if err := r.Switch(context.Background(), group, from, to); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Until(context.Background(), 20*time.Second, to+" serves citizens", func(s rig.Status) bool {
		v := s.Volume(citizenVolume)
		return s.Citizen == to && v.Primary == to && v.State == "mirrored"
	}); err != nil {
		t.Fatal(err)
	}
	c.goOn(t, 10*time.Second)
	if gap := c.readBack(t); gap > 5*time.Second {
		t.Errorf("a planned switch cost %.2f s", gap.Seconds())
	}
}

// drillBoth has the serving node killed twice: each node once, since the twin
// keeps what it took over.
func drillBoth(t *testing.T, r *rig.Rig) {
	cmd := exec.Command(filepath.Join(r.Bin, "drill"), "--dir", r.Dir, "--bin", r.Bin, "--rounds", "2")
	out, err := cmd.CombinedOutput()
	t.Logf("\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "killed a") || !strings.Contains(string(out), "killed b") {
		t.Error("the drill did not kill each node once")
	}
}
