package vmpair

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"beffroi.dev/appliance/boot"
	"beffroi.dev/tools/serial"
)

// Boot is one start of a node, seen from outside, and its own table.
type Boot struct {
	Node   string
	Kernel time.Duration // power-on until process 1 runs: firmware, loader, kernel
	Ready  time.Duration // power-on until the console's status screen is there
	Table  boot.Table
}

type watched struct {
	boot Boot
	line *serial.Line
	err  error
}

func (w watched) close() {
	if w.line != nil {
		_ = w.line.Close()
	}
}

// Titles of the status screen: the services have been started.
var statusTitles = []string{"État du nœud", "Node status"}

// watch is on the serial line from the first moment on.
func (p *Pair) watch(ctx context.Context, node string) watched {
	w := watched{boot: Boot{Node: node}}
	if w.line, w.err = dial(ctx, filepath.Join(p.Dir, node, "serial.sock")); w.err != nil {
		return w
	}
	begun := time.Now()
	if w.err = w.line.Hear(ctx, "process 1 is up"); w.err != nil {
		return w
	}
	w.boot.Kernel = time.Since(begun)
	if _, w.err = w.line.AwaitAny(ctx, statusTitles...); w.err != nil {
		return w
	}
	w.boot.Ready = time.Since(begun)
	return w
}

// Table reads the table of a node's boot through its rescue shell, once all its
// services are ready.
func (p *Pair) Table(ctx context.Context, node string) (boot.Table, error) {
	var t boot.Table
	s, err := p.Shell(ctx, node)
	if err != nil {
		return t, err
	}
	for t.Ready == 0 {
		text, err := s.Must(ctx, "cat "+boot.TableFile)
		if err != nil {
			return t, err
		}
		// The terminal breaks no line, but the kernel may have said something.
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return t, fmt.Errorf("table of node %s: %w: %.300s", node, err, text)
		}
	}
	return t, s.Leave(ctx)
}

// String is the boot as people read it.
func (b Boot) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "node %s: power-on to process 1 %.1f s, to the status screen %.1f s", b.Node, b.Kernel.Seconds(), b.Ready.Seconds())
	if b.Table.Ready > 0 {
		fmt.Fprintf(&out, "; the kernel had run %.1f s when all services were ready\n", b.Table.Ready)
	}
	for _, l := range b.Table.Phases {
		fmt.Fprintf(&out, "    %s\n", l)
	}
	return out.String()
}
