package pairing

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
	"beffroi.dev/pkg/task"
)

const (
	// lookFor is how long a founded node hears the beacons of other machines after a
	// person asked it to: as long as one takes to be carried in and cabled.
	lookFor = time.Hour
	// voteBound is how long a vote may take before it is asked again.
	voteBound = 20 * time.Second
)

// Pair is what a founded node knows of its pair, for a replacement.
type Pair struct {
	Votes Votes
	Up    func(ctx context.Context, id ident.Node) bool // this member is heard
}

// ReplacementBegun reports whether a former life has begun to replace its twin.
func ReplacementBegun(d config.Dir) bool {
	_, err := os.Stat(filepath.Join(string(d), replaceFile))
	return err == nil
}

// Look begins to hear machines that wait for a pair, or hears them for longer.
func (e *Engine) Look() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lookUntil = time.Now().Add(lookFor)
	if !e.act.working {
		e.act = act{}
	}
}

// Looks reports whether this founded node looks for a machine, or has something left
// to do for one.
func (e *Engine) Looks() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.act.working || time.Now().Before(e.lookUntil) || ReplacementBegun(e.cfg.Dir)
}

// Replacing is a founded node's part in replacements, until it looks for nobody and has
// nothing left to do, or ctx ends.
func (e *Engine) Replacing(ctx context.Context, p Pair) error {
	e.hearing.mute = true // it may have been blank in this life
	tasks := task.New(ctx)
	tasks.Go("beacons", e.hearing.run)
	for ctx.Err() == nil && e.Looks() {
		select {
		case <-ctx.Done():
		case s := <-e.swaps:
			err := e.begin(ctx, p, s)
			e.mu.Lock()
			e.act.working = false
			if e.act.fault = AsFault(err, Disk); err != nil {
				e.log.Error("the replacement has failed", "cause", err)
			}
			e.mu.Unlock()
		case <-time.After(settleEvery):
			e.goOn(ctx, p)
		}
	}
	return tasks.Stop(stopBound)
}

// newSwap is a replacement that was asked for.
type newSwap struct {
	r *Replacement
	d *Document
}

// Replace meets the machine that shows a code, and has it take the twin's place. It
// returns when the work has begun; Status tells the rest. A replacement that was begun
// before with another machine is given up, unless the vote was asked for it and may still
// take it.
func (e *Engine) Replace(ctx context.Context, p Pair, typed, address string) error {
	code, err := ParseCode(typed)
	if err != nil {
		return err
	}
	if e.working() {
		return fault(NotNow)
	}
	s, err := ReadSurvivor(e.cfg.Dir, e.cfg.Release)
	if err != nil {
		return err
	}
	twin, ok := s.Node.Twin()
	if !ok {
		return fault(WrongKind)
	}
	if p.Up(ctx, twin.ID) {
		return fault(TwinAlive)
	}
	if err := e.undecided(ctx, p.Votes); err != nil {
		return err
	}
	addresses, err := e.find(cluster.KindNode, code, address)
	if err != nil {
		return err
	}
	fresh, err := e.meet(ctx, code, addresses)
	if err != nil {
		return AsFault(err, Lost)
	}
	r, d, err := s.MakeReplacement(*fresh)
	if err != nil {
		return err
	}
	if err := allowed(ctx, p.Votes, r); err != nil {
		return err
	}
	return e.change(func() error {
		select {
		case e.swaps <- newSwap{r, d}:
			e.act = act{working: true, replaces: twin.Name}
			return nil
		default:
			return fault(NotNow)
		}
	})
}

// undecided refuses another machine while the vote may still take a former one: if that
// were forgotten, nobody would tell it that it is the member.
func (e *Engine) undecided(ctx context.Context, v Votes) error {
	r, err := e.folder.Replacement()
	if err != nil {
		return AsFault(err, Disk)
	}
	if r == nil || !r.Asked {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, voteBound)
	defer cancel()
	st, err := v.Watch(ctx, 0)
	if err != nil {
		return fault(NoVotes, err.Error())
	}
	if _, taken := st.Nodes[r.Do.Node]; !taken {
		return fault(Undecided)
	}
	return nil
}

// allowed asks the rules before anybody is changed: the vote may say no for a reason
// that a person has to know now.
func allowed(ctx context.Context, v Votes, r *Replacement) error {
	ctx, cancel := context.WithTimeout(ctx, voteBound)
	defer cancel()
	st, err := v.Watch(ctx, 0)
	if err != nil {
		return fault(NoVotes, err.Error())
	}
	do := r.Do
	if _, err := cluster.Apply(st.Clone(), cluster.Command{Do: &do}); err != nil {
		return fault(Refused, err.Error())
	}
	return nil
}

func (e *Engine) begin(ctx context.Context, p Pair, s newSwap) error {
	e.journal.Lock()
	defer e.journal.Unlock()
	link := e.link(s.r.Member.PublicKey, s.r.Member.Addresses)
	defer link.Close()
	return e.swap(p, link).begin(ctx, s.r, s.d)
}

// goOn ends what was begun, as far as it can be ended now.
func (e *Engine) goOn(ctx context.Context, p Pair) {
	e.journal.Lock()
	defer e.journal.Unlock()
	r, err := e.folder.Replacement()
	if err != nil || r == nil {
		return
	}
	link := e.link(r.Member.PublicKey, r.Member.Addresses)
	defer link.Close()
	done, err := e.swap(p, link).settle(ctx, r)
	e.mu.Lock()
	defer e.mu.Unlock()
	if !done && !r.Prepared && time.Now().After(e.lookUntil) { // it was carried away: a person lets it forget
		err = errors.Join(err, e.folder.Strike())
	}
	e.act.replaces = r.Member.Name
	if e.act.fault = AsFault(err, Disk); err != nil || !done {
		e.log.Info("the replacement is not over yet", "cause", err)
	}
}

func (e *Engine) swap(p Pair, peer Peer) *swap {
	return &swap{book: e.folder, votes: bounded{p.Votes}, up: p.Up, peer: peer, say: e.say}
}

// bounded is a vote that is not waited for for ever.
type bounded struct{ Votes }

func (b bounded) Watch(ctx context.Context, after uint64) (*cluster.State, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, voteBound, errors.New("the vote does not answer"))
	defer cancel()
	return b.Votes.Watch(ctx, after)
}

func (b bounded) Propose(ctx context.Context, do cluster.Action) (cluster.Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, voteBound, errors.New("the vote does not decide: it needs the witness"))
	defer cancel()
	return b.Votes.Propose(ctx, do)
}
