// Package newcomer does what a lab proposes to who has just started one: the five
// things to try, with the very commands that lab hints prints.
//
// It promises that each of them is followed by what the list says: reports go on, the
// pair is whole again, the guest counts on. It knows nothing of the lab but what is
// printed, its status, and the pages that citizens have.
package newcomer

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"beffroi.dev/tools/filing"
	"beffroi.dev/tools/histories/rig"
)

// Config of a newcomer.
type Config struct {
	Rig    *rig.Rig
	Filer  *filing.Filer // files all the while
	Dir    string        // where the commands are typed: bin/ and out/counter.img lie there
	Within time.Duration // what one step may take until the pair is as the list says
	Say    func(format string, args ...any)
}

// Validate reports all faults.
func (c Config) Validate() error {
	var errs []error
	if c.Rig == nil || c.Filer == nil || c.Say == nil {
		errs = append(errs, errors.New("a lab, a filer and a voice are needed"))
	}
	if c.Dir == "" || c.Within <= 0 {
		errs = append(errs, errors.New("a folder and a time limit are needed"))
	}
	return errors.Join(errs...)
}

type newcomer struct {
	Config
	hints []string // what the list has to type, by its numbers from 1
}

var (
	item = regexp.MustCompile(`(?m)^  ([1-5])\. .*$`)
	// typed is the first thing to type in an item: prose follows after some spaces.
	typed = regexp.MustCompile(`bin/.*?(?: {3}|$)`)
	// back is the second thing to type in the item that brings a node back.
	back = regexp.MustCompile(`bin/lab[^;]* start [ab]`)
)

// Walk does all five, one after another, on a pair that is whole.
func Walk(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("newcomer: %w", err)
	}
	n := &newcomer{Config: c, hints: make([]string, 6)}
	list, err := n.typeIn(ctx, filepath.Join("bin", "lab")+" hints --dir "+c.Rig.Dir)
	if err != nil {
		return err
	}
	for _, m := range item.FindAllStringSubmatch(list, -1) {
		n.hints[m[1][0]-'0'] = m[0]
	}
	for i, step := range []func(context.Context, string) error{n.kill, n.lookAndStart, n.cut, n.guest, n.sleep} {
		hint := n.hints[i+1]
		if typed.FindString(hint) == "" {
			return fmt.Errorf("the list has nothing to type under %d:\n%s", i+1, list)
		}
		begun := time.Now()
		if err := step(ctx, hint); err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(hint), err)
		}
		c.Say("%s\n    as said, after %.1f s", strings.TrimSpace(hint), time.Since(begun).Seconds())
	}
	return nil
}

// typeIn gives a line to the shell, as it is printed.
func (n *newcomer) typeIn(ctx context.Context, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, n.Within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", line)
	cmd.Dir = n.Dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", line, err, out)
	}
	return string(out), nil
}

// goOn waits until reports that are sent from now on are acknowledged.
func (n *newcomer) goOn(ctx context.Context) error {
	from := time.Now()
	for n.Filer.Since(from) < 3 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Since(from) > n.Within {
			return fmt.Errorf("%d of 3 reports were acknowledged in %v", n.Filer.Since(from), n.Within)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// whole waits until everything is mirrored and reports go on.
func (n *newcomer) whole(ctx context.Context) error {
	if _, err := n.Rig.Settled(ctx, n.Within); err != nil {
		return err
	}
	return n.goOn(ctx)
}

func (n *newcomer) kill(ctx context.Context, hint string) error {
	if _, err := n.typeIn(ctx, typed.FindString(hint)); err != nil {
		return err
	}
	if _, err := n.Rig.Until(ctx, n.Within, "the other node serves", func(s rig.Status) bool {
		return s.Citizen == "b"
	}); err != nil {
		return err
	}
	return n.goOn(ctx)
}

func (n *newcomer) lookAndStart(ctx context.Context, hint string) error {
	out, err := n.typeIn(ctx, typed.FindString(hint))
	if err != nil {
		return err
	}
	if !strings.Contains(out, "solo") || !strings.Contains(out, "citizens are served by: b") {
		return fmt.Errorf("the status does not say that b serves alone:\n%s", out)
	}
	if _, err := n.typeIn(ctx, back.FindString(hint)); err != nil {
		return err
	}
	return n.whole(ctx)
}

func (n *newcomer) cut(ctx context.Context, hint string) error {
	line := typed.FindString(hint)
	if _, err := n.typeIn(ctx, line); err != nil {
		return err
	}
	if _, err := n.Rig.Until(ctx, n.Within, "the primary is alone", func(s rig.Status) bool {
		for _, v := range s.Volumes {
			if v.State != "solo" {
				return false
			}
		}
		return len(s.Volumes) > 0
	}); err != nil {
		return err
	}
	if err := n.goOn(ctx); err != nil {
		return err
	}
	if _, err := n.typeIn(ctx, strings.ReplaceAll(line, " cut ", " heal ")); err != nil {
		return err
	}
	return n.whole(ctx)
}

func (n *newcomer) guest(ctx context.Context, hint string) error {
	line := typed.FindString(hint)
	words := strings.Fields(line)
	name := ""
	for i, w := range words {
		if w == "create" && i+1 < len(words) {
			name = words[i+1]
		}
	}
	if _, err := n.typeIn(ctx, line); err != nil {
		return err
	}
	step, cancel := context.WithTimeout(ctx, n.Within)
	defer cancel()
	g := n.Rig.Guest(name)
	before, err := g.Beyond(step, 0)
	if err != nil {
		return err
	}
	if err := n.whole(ctx); err != nil {
		return err
	}
	if before, err = g.See(step); err != nil {
		return err
	}
	if _, err := n.Rig.Do("kill", before.Node); err != nil {
		return err
	}
	after, err := g.Beyond(step, max(before.Count, g.Printed(ctx, before.Node)))
	if err != nil {
		return err
	}
	if after.Node == before.Node {
		return fmt.Errorf("the guest still counts on %s, which was killed", after.Node)
	}
	n.Say("the guest counted to %d on %s, then to %d on %s", before.Count, before.Node, after.Count, after.Node)
	if _, err := n.Rig.Do("start", before.Node); err != nil {
		return err
	}
	return n.whole(ctx)
}

func (n *newcomer) sleep(ctx context.Context, hint string) error {
	if _, err := n.typeIn(ctx, typed.FindString(hint)); err != nil {
		return err
	}
	return n.whole(ctx)
}
