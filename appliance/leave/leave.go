package leave

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"beffroi.dev/appliance/status"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// Control is what is asked of the node service.
type Control interface {
	Status(ctx context.Context) (status.Node, error)
	Propose(ctx context.Context, do cluster.Action) (cluster.Result, error)
}

// Config says whom to ask, and how long things may take. The zero value of a bound
// means its default.
type Config struct {
	Control Control
	// Drain asks the vm service to shut guests down within bound, and says which live.
	Drain func(ctx context.Context, bound time.Duration) ([]ident.VM, error)
	// Switch asks the block service to hand a group to a node.
	Switch func(ctx context.Context, group ident.Group, to ident.Node) error
	Guests time.Duration // for guests to obey their power buttons; 90 s
	Margin time.Duration // for those that did not to be gone by force; 15 s
	Ask    time.Duration // for one answer; 10 s
	Every  time.Duration // between two looks at the guests; 250 ms
}

// Validate reports all faults.
func (c Config) Validate() error {
	if c.Control == nil || c.Drain == nil || c.Switch == nil {
		return errors.New("leave: there is nobody to ask")
	}
	if c.Guests < 0 || c.Margin < 0 || c.Ask < 0 || c.Every < 0 {
		return errors.New("leave: bounds must not be negative")
	}
	return nil
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&c.Guests, 90*time.Second)
	set(&c.Margin, 15*time.Second)
	set(&c.Ask, 10*time.Second)
	set(&c.Every, 250*time.Millisecond)
	return c
}

// Progress is what a node that goes down still waits for.
type Progress struct {
	Guests int `json:"guests"` // that have not ended
	Group  int `json:"group"`  // that is being handed over, counted from 1; 0: none yet
	Groups int `json:"groups"` // to be handed over
}

// Run hands everything over, or returns when it cannot. Say is told what is waited
// for, each time that changes. A ctx that ends makes it return at once.
func Run(ctx context.Context, c Config, say func(Progress), log *slog.Logger) error {
	if err := c.Validate(); err != nil {
		return err
	}
	c = c.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, c.Guests+c.Margin+4*c.Ask)
	defer cancel()
	l := leaving{Config: c, say: say, log: log.With("room", "leave")}
	n, err := l.status(ctx)
	if err != nil {
		l.log.Warn("nothing is handed over: the node service does not answer", "cause", err)
		return errors.Join(err, l.guests(ctx, plan{}))
	}
	p := makePlan(n)
	l.say(Progress{Guests: len(n.VMs), Groups: len(p.groups)})
	if p.twin == 0 {
		l.log.Warn("nothing is handed over: the twin is away, or the votes have no majority")
	}
	return errors.Join(l.guests(ctx, p), l.hand(ctx, p))
}

type leaving struct {
	Config
	say func(Progress)
	log *slog.Logger
}

func (l *leaving) status(ctx context.Context) (status.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, l.Ask)
	defer cancel()
	return l.Control.Status(ctx)
}

// guests shuts all guests down and gives each to the twin as soon as it has ended
// here: before that it would run twice.
func (l *leaving) guests(ctx context.Context, p plan) error {
	waiting := slices.Clone(p.vms)
	begun, said := time.Now(), -1
	for {
		alive, err := l.drain(ctx, l.Guests-time.Since(begun))
		if err == nil { // else it is being started again, or it hangs
			waiting = slices.DeleteFunc(waiting, func(v status.PlacedVM) bool {
				if slices.Contains(alive, v.ID) {
					return false
				}
				if err := l.place(ctx, v, p.twin); err != nil {
					l.log.Warn("the twin was not given a guest", "vm", v.Name, "cause", err)
				}
				return true
			})
			if len(alive) == 0 {
				return nil
			}
			if len(alive) != said {
				said = len(alive)
				l.say(Progress{Guests: said, Groups: len(p.groups)})
			}
		}
		if time.Since(begun) > l.Guests+l.Margin {
			if err == nil {
				err = fmt.Errorf("%d guests have not ended", len(alive))
			}
			return fmt.Errorf("shut guests down: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("shut guests down: %w", errors.Join(err, ctx.Err()))
		case <-time.After(l.Every):
		}
	}
}

func (l *leaving) drain(ctx context.Context, bound time.Duration) ([]ident.VM, error) {
	ctx, cancel := context.WithTimeout(ctx, l.Ask)
	defer cancel()
	return l.Drain(ctx, max(bound, 0))
}

func (l *leaving) place(ctx context.Context, v status.PlacedVM, twin ident.Node) error {
	ctx, cancel := context.WithTimeout(ctx, l.Ask)
	defer cancel()
	_, err := l.Control.Propose(ctx, &cluster.PlaceVM{VM: v.ID, Base: v.Generation, Node: twin, Cause: "its node goes down in order"})
	return err
}

// hand gives the groups to the twin.
func (l *leaving) hand(ctx context.Context, p plan) error {
	var errs []error
	for i, g := range p.groups {
		l.say(Progress{Group: i + 1, Groups: len(p.groups)})
		one, cancel := context.WithTimeout(ctx, l.Ask)
		err := l.Switch(one, g, p.twin)
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("hand group %d over: %w", g, err))
		}
	}
	return errors.Join(errs...)
}
