package vmpair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"beffroi.dev/tools/histories/rig"
	"beffroi.dev/tools/serial"
)

// Config of a pair.
type Config struct {
	Bin     string // folder of the programs
	Image   string
	StoreMB int
	Out     io.Writer // what happens, for people
}

// Validate reports all faults.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []string{filepath.Join(c.Bin, "lab"), filepath.Join(c.Bin, "beffroi"), c.Image} {
		if _, err := os.Stat(f); err != nil {
			errs = append(errs, fmt.Errorf("%w (make build image makes it)", err))
		}
	}
	if c.StoreMB < 128 {
		errs = append(errs, fmt.Errorf("a store of %d MB: at least 128", c.StoreMB))
	}
	return errors.Join(errs...)
}

// Pair is a running one.
type Pair struct {
	*rig.Rig
	config Config
	lines  map[string]*serial.Line
}

// Data are the two nodes, without the witness.
var Data = []string{"a", "b"}

// Start boots both nodes from blank disks and waits until citizens are served from a
// mirrored volume.
func Start(ctx context.Context, c Config) (*Pair, []Boot, error) {
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "vm") // short: paths of sockets are bounded
	if err != nil {
		return nil, nil, err
	}
	p := &Pair{Rig: &rig.Rig{Dir: dir, Bin: c.Bin}, config: c, lines: map[string]*serial.Line{}}
	boots := make(chan watched, len(Data))
	wctx, stop := context.WithCancel(ctx)
	defer stop()
	for _, n := range Data {
		go func() { boots <- p.watch(wctx, n) }()
	}
	r, err := rig.Start(ctx, dir, c.Bin, "--mode", "vm", "--image", c.Image, "--store", fmt.Sprint(c.StoreMB))
	if err != nil {
		stop()
		for range Data {
			(<-boots).close()
		}
		return nil, nil, errors.Join(err, errors.New(p.Tails()), p.Close())
	}
	p.Rig = r
	all, err := p.collect(boots)
	if err != nil {
		return nil, nil, errors.Join(err, errors.New(p.Tails()), p.Close())
	}
	return p, all, nil
}

// collect takes what the watchers saw, and keeps their lines.
func (p *Pair) collect(boots <-chan watched) ([]Boot, error) {
	all := make([]Boot, len(Data))
	var errs []error
	for range Data {
		w := <-boots
		if w.err != nil {
			w.close()
			errs = append(errs, w.err)
			continue
		}
		p.lines[w.boot.Node] = w.line
		for i, n := range Data {
			if n == w.boot.Node {
				all[i] = w.boot
			}
		}
	}
	return all, errors.Join(errs...)
}

// Close stops every machine and removes what they left. It may be called again.
func (p *Pair) Close() error {
	for n, l := range p.lines {
		_ = l.Close()
		delete(p.lines, n)
	}
	var err error
	if _, e := os.Stat(filepath.Join(p.Dir, "lab.json")); e == nil {
		err = p.Down()
	}
	return errors.Join(err, os.RemoveAll(p.Dir))
}

// Say tells people what happens.
func (p *Pair) Say(format string, args ...any) { fmt.Fprintf(p.config.Out, format+"\n", args...) }

// Line is the terminal on a node's serial line. Only one terminal is on it: it is
// connected anew after a power cut.
func (p *Pair) Line(ctx context.Context, node string) (*serial.Line, error) {
	if l := p.lines[node]; l != nil && l.Err() == nil {
		return l, nil
	}
	p.LeaveLine(node)
	l, err := dial(ctx, p.Node(node).Serial)
	if err == nil {
		p.lines[node] = l
	}
	return l, err
}

// LeaveLine takes the terminal off a node's serial line, for somebody else's.
func (p *Pair) LeaveLine(node string) {
	if l := p.lines[node]; l != nil {
		_ = l.Close()
		delete(p.lines, node)
	}
}

// dial tries until somebody listens.
func dial(ctx context.Context, socket string) (*serial.Line, error) {
	for {
		l, err := serial.Dial(ctx, socket)
		if err == nil || ctx.Err() != nil {
			return l, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Shell opens the rescue shell of a node with the lab's password.
func (p *Pair) Shell(ctx context.Context, node string) (*serial.Shell, error) {
	password, err := os.ReadFile(p.Password)
	if err != nil {
		return nil, err
	}
	l, err := p.Line(ctx, node)
	if err != nil {
		return nil, err
	}
	return l.Shell(ctx, strings.TrimSpace(string(password)))
}

var orders = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

// tail is how much of a serial log is shown after a fault.
const tail = 4000

// Tails are the ends of the serial logs and of what else the lab wrote.
func (p *Pair) Tails() string {
	var out strings.Builder
	for _, f := range []string{"a/serial.log", "b/serial.log", "a/qemu.log", "b/qemu.log", "witness/logs/machine.log", "daemon.log"} {
		b, err := os.ReadFile(filepath.Join(p.Dir, f))
		if err != nil || len(b) == 0 {
			continue
		}
		text := orders.ReplaceAllString(string(b[max(0, len(b)-2*tail):]), " ")
		fmt.Fprintf(&out, "--- the end of %s\n%s\n", f, text[max(0, len(text)-tail):])
	}
	return out.String()
}
