package main

import (
	"log/slog"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestStartOfARunningNodeDisturbsNothing: it is refused, and the node's connections live.
func TestStartOfARunningNodeDisturbsNothing(t *testing.T) {
	m := Machine{Name: "a", Mode: "process", Dir: t.TempDir()}
	running := exec.Command("sleep", "600")
	running.Env = append(os.Environ(), marker+"="+m.Dir)
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = running.Process.Kill(); _ = running.Wait() })
	d := &daemon{lab: Lab{Nodes: []Machine{m}}, fabric: newFabric(slog.New(slog.DiscardHandler))}
	here, there := net.Pipe()
	p := &pipe{f: d.fabric, from: "a", to: "b", path: "fibre1", dialled: here, other: there, done: make(chan struct{})}
	t.Cleanup(p.close)
	d.fabric.pipes[p] = true
	if err := d.power(ask{Verb: "start", Node: "a"}); err == nil {
		t.Error("it was started twice")
	}
	select {
	case <-p.done:
		t.Error("its connections were reset")
	default:
	}
}

// TestAWayToTheWitnessIsShapedOnce: of virtual machines the cables shape the lan of a
// and b; what the fabric carries to the witness has passed them.
func TestAWayToTheWitnessIsShapedOnce(t *testing.T) {
	for _, tc := range []struct {
		name   string
		cabled bool
		link   string
		want   time.Duration
	}{
		{"processes, the node's lan", false, "lan-a", time.Second},
		{"processes, the witness's lan", false, "lan-w", time.Second},
		{"virtual machines, the node's lan", true, "lan-a", 0},
		{"virtual machines, the witness's lan", true, "lan-w", time.Second},
	} {
		f := newFabric(slog.New(slog.DiscardHandler))
		f.cabled = tc.cabled
		ways, err := parseLink(tc.link, "")
		if err != nil {
			t.Fatal(err)
		}
		f.set(ways, func(s *shape) { s.Delay, s.Loss = time.Second, 0.5 })
		for _, ends := range [][2]string{{"a", "witness"}, {"witness", "a"}} {
			if got, _ := f.state(ends[0], ends[1], "lan"); got.Delay != tc.want || (got.Loss > 0) != (tc.want > 0) {
				t.Errorf("%s, %s to %s: %+v, want a delay of %v", tc.name, ends[0], ends[1], got, tc.want)
			}
		}
		if len(f.list()) != 2 {
			t.Errorf("%s: the status lists %v", tc.name, f.list())
		}
	}
}
