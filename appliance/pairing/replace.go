package pairing

import (
	"context"
	"errors"
	"fmt"

	"beffroi.dev/pkg/ident"
	"beffroi.dev/pkg/quorum/cluster"
)

// Replacement is what a survivor keeps of a replacement of its twin until the new
// machine knows that it belongs to the pair. What decides is the vote (decision 13).
type Replacement struct {
	Founding ident.UUID          `json:"founding"` // the identity that the document has
	Do       cluster.ReplaceNode `json:"do"`
	Member   Contact             `json:"member"`
	Prepared bool                `json:"prepared"` // the new machine has kept its document
	Asked    bool                `json:"asked"`    // the vote was asked: only the vote knows whether it is decided
}

// Notebook keeps a Replacement. Each method is durable when it returns, and whole or
// without effect when the power goes meanwhile.
type Notebook interface {
	Replacement() (*Replacement, error) // nil: none
	Note(*Replacement) error
	Strike() error // removes it
}

// The steps of a replacement that a founding does not have.
const (
	StepVoting   Step = "voting"
	StepReplaced Step = "replaced"
)

// swap is one replacement on its way.
type swap struct {
	book  Notebook
	votes Votes
	up    func(ctx context.Context, id ident.Node) bool // this member is heard
	peer  Peer
	say   Progress
}

// begin has the new machine keep its document, and goes on to the vote.
func (s *swap) begin(ctx context.Context, r *Replacement, d *Document) error {
	if err := s.book.Note(r); err != nil {
		return err
	}
	s.say(StepPreparing, r.Member.Name)
	m, err := message(KindPrepare, d)
	if err == nil {
		err = ask(ctx, s.peer, m, KindPrepared)
	}
	if err != nil {
		s.undo(ctx, r)
		return err
	}
	r.Prepared = true
	if err := s.book.Note(r); err != nil {
		return err // whether it was written is known after a restart only
	}
	s.say(StepPrepared, r.Member.Name)
	return s.drive(ctx, r)
}

// settle goes on with what a former life has left. It reports whether nothing is left.
func (s *swap) settle(ctx context.Context, r *Replacement) (bool, error) {
	if !r.Prepared {
		return s.undo(ctx, r), nil
	}
	err := s.drive(ctx, r)
	left, readErr := s.book.Replacement()
	return left == nil && readErr == nil, errors.Join(err, readErr)
}

// drive votes the new machine in and tells it. It may be repeated: the vote takes effect
// once, and so does the word. What the rules refuse is taken back.
func (s *swap) drive(ctx context.Context, r *Replacement) error {
	st, err := s.votes.Watch(ctx, 0)
	if err != nil {
		return fault(NoVotes, err.Error())
	}
	if _, done := st.Nodes[r.Do.Node]; !done {
		if !r.Asked && s.up(ctx, r.Do.Old) {
			s.undo(ctx, r)
			return fault(TwinAlive)
		}
		r.Asked = true
		if err := s.book.Note(r); err != nil {
			return err
		}
		s.say(StepVoting, r.Member.Name)
		do := r.Do
		if _, err := s.votes.Propose(ctx, &do); errors.Is(err, cluster.ErrRefused) {
			s.undo(ctx, r)
			return fault(Refused, err.Error())
		} else if err != nil {
			return fault(NoVotes, err.Error()) // it may still be decided
		}
		s.say(StepDecided, "")
	}
	// A member that votes has heard it: its answer was lost.
	if !s.up(ctx, r.Do.Node) {
		s.say(StepTelling, r.Member.Name)
		dial := func(int) (Peer, error) { return s.peer, nil }
		if err := tell(ctx, dial, 0, r.Founding, KindCommit, KindDone); err != nil {
			return fmt.Errorf("%s: %w", r.Member.Name, err)
		}
	}
	if err := s.book.Strike(); err != nil {
		return err
	}
	s.say(StepReplaced, r.Member.Name)
	return nil
}

// undo takes back what was not decided; it reports whether the new machine knows.
func (s *swap) undo(ctx context.Context, r *Replacement) bool {
	s.say(StepUndoing, r.Member.Name)
	r.Prepared, r.Asked = false, false
	if s.book.Note(r) != nil {
		return false
	}
	dial := func(int) (Peer, error) { return s.peer, nil }
	if tell(ctx, dial, 0, r.Founding, KindAbort, KindForgotten) != nil {
		return false // a next life, or the next turn, tells it
	}
	return s.book.Strike() == nil
}
