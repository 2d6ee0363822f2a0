package pairing

import (
	"context"
	"errors"
	"fmt"

	"beffroi.dev/pkg/ident"
)

// Record is what a founder keeps of its founding until every member is founded.
type Record struct {
	Founding ident.UUID `json:"founding"`
	Decided  bool       `json:"decided"`
	Mine     *Document  `json:"mine"`
	Members  []Contact  `json:"members"`
}

// Contact is how a founder finds a member again.
type Contact struct {
	Name      string   `json:"name"` // b, witness
	PublicKey []byte   `json:"public_key"`
	Addresses []string `json:"addresses"` // host:port
	Told      bool     `json:"told"`      // it has heard the end
}

// Ledger is a founder's Journal: it has a Record as well.
type Ledger interface {
	Journal
	Record() (*Record, error) // nil: none
	Write(*Record) error      // whole
	Close() error             // removes it
}

// Peer talks to one member that has been authenticated.
type Peer interface {
	Ask(ctx context.Context, m Message) (Message, error)
}

// Progress tells what a founding does now: a step and the member that it is about.
type Progress func(step Step, member string)

// Step of a founding.
type Step string

// The steps.
const (
	StepPreparing Step = "preparing"
	StepPrepared  Step = "prepared"
	StepDecided   Step = "decided"
	StepTelling   Step = "telling"
	StepDone      Step = "done"
	StepUndoing   Step = "undoing"
)

// Found founds: r is a new record with all documents, peers and docs are in the
// order of its members. An error before the decision leaves everybody blank (what
// the members keep is undone); after it there is none, and Settle goes on.
func Found(ctx context.Context, l Ledger, r *Record, docs []*Document, peers []Peer, say Progress) error {
	if err := l.Write(r); err != nil {
		return err
	}
	for i, p := range peers {
		say(StepPreparing, r.Members[i].Name)
		m, err := message(KindPrepare, docs[i])
		if err == nil {
			err = ask(ctx, p, m, KindPrepared)
		}
		if err != nil {
			undo(ctx, l, r, func(j int) Peer { return peers[j] }, say)
			return fmt.Errorf("%s: %w", r.Members[i].Name, err)
		}
		say(StepPrepared, r.Members[i].Name)
	}
	r.Decided = true
	if err := l.Write(r); err != nil {
		r.Decided = false
		return err // whether it was written is known after a restart only
	}
	say(StepDecided, "")
	return l.Adopt(r.Mine)
}

// Settle ends what a Record has begun, as far as peers can be reached; dial gives
// the peer of a member. It reports whether the record is closed, and may be
// repeated. seen, if not nil, says that a member is known to be founded.
func Settle(ctx context.Context, l Ledger, dial func(i int) (Peer, error), seen func(Contact) bool, say Progress) (bool, error) {
	r, err := l.Record()
	if err != nil || r == nil {
		return r == nil, err
	}
	if !r.Decided {
		undo(ctx, l, r, func(i int) Peer {
			p, err := dial(i)
			if err != nil {
				return nil
			}
			return p
		}, say)
		left, err := l.Record()
		return left == nil, err
	}
	if id, err := l.Founded(); err != nil {
		return false, err
	} else if id != r.Founding {
		if err := l.Adopt(r.Mine); err != nil {
			return false, err
		}
	}
	var faults []error
	all := true
	for i := range r.Members {
		c := &r.Members[i]
		if c.Told {
			continue
		}
		if seen == nil || !seen(*c) {
			say(StepTelling, c.Name)
			if err := tell(ctx, dial, i, r.Founding, KindCommit, KindDone); err != nil {
				faults, all = append(faults, fmt.Errorf("%s: %w", c.Name, err)), false
				continue
			}
		}
		c.Told = true
		if err := l.Write(r); err != nil {
			return false, err
		}
		say(StepDone, c.Name)
	}
	if all {
		return true, l.Close()
	}
	return false, errors.Join(faults...)
}

// undo takes back what was not decided. A member that cannot be told keeps its
// document, and forgets it when this founder begins anew.
func undo(ctx context.Context, l Ledger, r *Record, peer func(int) Peer, say Progress) {
	all := true
	for i, c := range r.Members {
		if c.Told {
			continue
		}
		say(StepUndoing, c.Name)
		p := peer(i)
		if p == nil || tell(ctx, func(int) (Peer, error) { return p, nil }, i, r.Founding, KindAbort, KindForgotten) != nil {
			all = false
			continue
		}
		r.Members[i].Told = true
	}
	if all {
		_ = l.Close() // else it is undone again
		return
	}
	_ = l.Write(r)
}

func tell(ctx context.Context, dial func(int) (Peer, error), i int, id ident.UUID, k, want Kind) error {
	p, err := dial(i)
	if err != nil {
		return err
	}
	m, err := message(k, id)
	if err != nil {
		return err
	}
	err = ask(ctx, p, m, want)
	if k == KindAbort && err != nil && AsFault(err, Lost).Reason == Unknown {
		return nil // it does not even know us: there is nothing to forget
	}
	return err
}

func ask(ctx context.Context, p Peer, m Message, want Kind) error {
	answer, err := p.Ask(ctx, m)
	if err != nil {
		return err
	}
	return answer.want(want, nil)
}
