// Command lab runs the pair and the witness on one machine, without root.
//
//	lab up [--dir D] [--store MB] [--profile lab]   make the machines and start them
//	lab up --new                                    erase those that are there first
//	lab status [--json]                             what they are doing
//	lab kill|start|pause|resume NODE                power cut, power back, freeze, thaw
//	lab blank NODE [--image FILE]                   vm mode: a new machine in a dead one's place
//	lab cut|heal LINK [--from NODE]                 silence a link, or one direction of it
//	lab shape LINK [--from NODE] --delay D --loss F make it slow or lossy
//	lab plug NODE PORT CABLE                        vm mode: a cable into a wrong port
//	lab lan                                         vm mode: the cards that spoke on the lan, as JSON
//	lab serial NODE, lab logs NODE [SERVICE]        what a machine says
//	lab hints                                       what to open and try, once more
//	lab down                                        stop everything; the state stays
//
// NODE is a, b or witness; LINK is fibre1, fibre2, lan-a, lan-b or lan-w.
//
// There is no switching logic here: the lab only cuts, kills and looks. On kill
// the network of the node goes silent first, then its processes die. The disks
// of the nodes forget what was not flushed. lab.json in the folder describes
// everything (type Lab).
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func bytesReader(b []byte) io.Reader { return bytes.NewReader(b) }

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("what to do? up, status, kill, start, pause, resume, blank, cut, heal, shape, plug, lan, serial, screen, logs, hints or down")
	}
	if len(args) > 2 && args[0] == "--dir" { // before the verb as well as after it
		args = append([]string{args[2], args[0], args[1]}, args[3:]...)
	}
	verb := args[0]
	if verb == "disk" {
		return runDisk(args[1:])
	}
	fs := flag.NewFlagSet("lab "+verb, flag.ContinueOnError)
	dir := fs.String("dir", "out/lab", "folder of the lab")
	store := fs.Int64("store", 1024, "up: size of each node's store, MB")
	profile := fs.String("profile", "", "up: timing profile; lab, and emulated for virtual machines")
	binary := fs.String("beffroi", "bin/beffroi", "up: the program under test")
	mode := fs.String("mode", "process", "up: process, or vm")
	image := fs.String("image", "out/image/beffroi.img", "up and blank, vm mode: what is written to the nodes' disks")
	blank := fs.Bool("blank", false, "up, vm mode: the nodes get no seed, and nothing waits for them")
	anew := fs.Bool("new", false, "up: erase the machines that are there, with all their data, and begin anew")
	asJSON := fs.Bool("json", false, "status: as JSON")
	from := fs.String("from", "", "cut, heal, shape: only what leaves this node")
	delay := fs.Duration("delay", 0, "shape: added to everything")
	loss := fs.Float64("loss", 0, "shape: share of packets lost")
	clock := fs.String("clock", "", "start, vm mode: what the machine's own clock says, such as 2001-01-01")
	without := fs.String("without", "", "start, vm mode: the cable whose card is dead; fibre2 is the last card: without another one those behind it move up")
	words, err := parse(fs, args[1:])
	if err != nil {
		return err
	}
	full, err := filepath.Abs(*dir)
	if err != nil {
		return err
	}
	switch verb {
	case "up":
		if *mode != "process" && *mode != "vm" {
			return fmt.Errorf("mode %q: use process or vm", *mode)
		}
		if *profile == "" {
			*profile = map[string]string{"process": "lab", "vm": "emulated"}[*mode]
		}
		return up(ctx, options{dir: full, storeSize: *store << 20, profile: *profile, mode: *mode, image: *image, blank: *blank,
			anew: *anew, given: flagsGiven(fs)}, *binary, out)
	case "daemon":
		return runDaemon(full, *binary)
	}
	lab, err := loadLab(full)
	if err != nil {
		return err
	}
	return perform(ctx, lab, ask{Verb: verb, From: *from, Delay: *delay, Loss: *loss, Oddity: Oddity{*clock, *without}, Image: *image}, words, *asJSON, out)
}

// perform does a verb of a lab that is there.
func perform(ctx context.Context, lab Lab, a ask, words []string, asJSON bool, out io.Writer) error {
	switch a.Verb {
	case "status":
		s := gather(ctx, lab)
		if r, err := call(lab, ask{Verb: "links"}); err == nil && r.Links != nil {
			s.Links = r.Links
		}
		return printStatus(out, s, asJSON)
	case "hints":
		printHelp(lab, out)
		return nil
	case "down":
		return down(lab)
	case "serial", "logs":
		return show(ctx, lab, a.Verb, words, out)
	case "screen":
		return screen(ctx, lab, words)
	case "lan":
		r, err := call(lab, ask{Verb: a.Verb})
		if err != nil {
			return err
		}
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r.Lan)
	case "plug":
		if len(words) != 3 {
			return errors.New("plug what? A node, its port and a cable: lab plug b fibre1 lan")
		}
		_, err := call(lab, ask{Verb: a.Verb, Node: words[0], Link: words[1], Into: words[2]})
		return err
	case "blank", "kill", "start", "pause", "resume", "cut", "heal", "shape":
		return order(lab, a, words)
	}
	return fmt.Errorf("verb %q is not known", a.Verb)
}

// order has the daemon do something to one node or link.
func order(lab Lab, a ask, words []string) error {
	if len(words) != 1 {
		return fmt.Errorf("%s what? One node or link", a.Verb)
	}
	switch a.Verb {
	case "cut", "heal", "shape":
		a.Link = words[0]
	default:
		a.Node = words[0]
	}
	var err error
	if a.Image, err = filepath.Abs(a.Image); err != nil { // the daemon stands in another folder
		return err
	}
	_, err = call(lab, a)
	return err
}

// parse lets flags and words come in any order.
func parse(fs *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		if fs.NArg() == 0 {
			return words, nil
		}
		words = append(words, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

// up makes the machines, starts the daemon, and waits until the pair is ready.
func up(ctx context.Context, o options, binary string, out io.Writer) error {
	begun := time.Now()
	lab, err := machines(o, out)
	if err != nil {
		return err
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := startDaemon(lab, binary, func() { cancel(errors.New("the lab's daemon ended")) }); err != nil {
		return err
	}
	if lab.Blank {
		fmt.Fprintf(out, "Two machines without a seed boot. Unless they are a pair already, found one at a serial line, with a witness of your own:\n  %s\n  %s\n", lab.Nodes[0].Serial, lab.Nodes[1].Serial)
		return nil
	}
	if err := settle(ctx, lab, out); err != nil {
		return fmt.Errorf("%w; the lab's daemon said last: %s", err, tail(filepath.Join(o.dir, "daemon.log"), 1))
	}
	fmt.Fprintf(out, "\nThe pair is ready after %.1f s (profile %s, mode %s).\n", time.Since(begun).Seconds(), lab.Profile, lab.Mode)
	printHelp(lab, out)
	return nil
}

// machines are those that are in the folder, or new ones.
func machines(o options, out io.Writer) (Lab, error) {
	lab, err := loadLab(o.dir)
	if err == nil && lab.Dir != o.dir {
		return lab, fmt.Errorf("the lab in %s is a copy of that in %s: its machines would be those of the other", o.dir, lab.Dir)
	}
	if err == nil {
		if _, err := call(lab, ask{Verb: "links"}); err == nil {
			return lab, fmt.Errorf("a lab is up in %s already (stop it with: %s down)", o.dir, program(lab))
		}
		if !o.anew {
			return lab, again(lab, o, out)
		}
		o = o.like(lab)
		if o.mode == "vm" { // nothing is erased for which there is nothing in its place
			if _, err := os.Stat(o.image); err != nil {
				return lab, fmt.Errorf("image (make image builds it): %w", err)
			}
		}
		fmt.Fprintf(out, "The machines in %s are erased.\n", o.dir)
		if err := erase(lab); err != nil {
			return lab, err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return lab, err // it describes machines that may be precious
	}
	if o.net, err = freeNet(); err != nil {
		return lab, err
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return lab, err
	}
	p, err := makePlan(o)
	if err != nil {
		return lab, err
	}
	return p.lab, p.write(o)
}

// tail is the last lines of a log, as far as they can be read.
func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return "(nothing)"
	}
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// startDaemon starts the daemon in a session of its own; ended is called if it ends
// while this process still runs.
func startDaemon(lab Lab, binary string, ended func()) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(lab.Dir, "daemon.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, "daemon", "--dir", lab.Dir, "--beffroi", binary)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the lab's daemon: %w", err)
	}
	go func() { // ends with the daemon, or with this process
		_ = cmd.Wait()
		ended()
	}()
	return nil
}

func down(lab Lab) error {
	if _, err := call(lab, ask{Verb: "down"}); err != nil {
		return err
	}
	limit := time.Now().Add(20 * time.Second)
	for time.Now().Before(limit) {
		left := 0
		for _, m := range lab.Nodes {
			left += len(processes(m))
		}
		if left == 0 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("some processes of the lab still run")
}

// show prints what a machine has said.
func show(ctx context.Context, lab Lab, verb string, words []string, out io.Writer) error {
	if len(words) == 0 {
		return fmt.Errorf("%s of which node?", verb)
	}
	m, err := lab.machine(words[0])
	if err != nil {
		return err
	}
	if verb == "serial" && m.Mode == "vm" {
		return copyFile(filepath.Join(m.Dir, "serial.log"), out)
	}
	if m.Mode == "vm" {
		return readLog(ctx, lab, m, strings.Join(words[1:], " "), out)
	}
	name := "machine"
	if verb == "logs" && len(words) > 1 {
		name = filepath.Base(words[1])
	}
	files, err := filepath.Glob(filepath.Join(m.Dir, "logs", name+".log"))
	if err != nil || len(files) == 0 {
		all, _ := filepath.Glob(filepath.Join(m.Dir, "logs", "*.log"))
		for i := range all {
			all[i] = strings.TrimSuffix(filepath.Base(all[i]), ".log")
		}
		return fmt.Errorf("no log %q; there are: %s", name, strings.Join(all, ", "))
	}
	return copyFile(files[0], out)
}

func copyFile(path string, out io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, f)
	return err
}
