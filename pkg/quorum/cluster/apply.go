package cluster

import (
	"fmt"
	"strings"
)

// Bounds of the state. A town hall's pair is far below them; what they prevent
// is a snapshot that no longer fits a control message.
const (
	maxGroups  = 256
	maxVolumes = 16 // of one group
	maxVMs     = 256
	maxUsers   = 200
	maxEvents  = 256
	maxRecent  = 512 // a proposal is retried for seconds, not for hundreds of commands
	maxText    = 200 // bytes of an event's free texts
)

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// Apply changes the state by one command. A refused command changes nothing but
// the memory of proposals, and the error wraps ErrRefused; the result says the
// same in its Refused field. A proposal that was applied before changes nothing
// and has the result it had then.
func Apply(s *State, c Command) (Result, error) {
	if c.ID != (ProposalID{}) {
		for i := len(s.Recent) - 1; i >= 0; i-- {
			if s.Recent[i].ID == c.ID {
				return s.Recent[i].Result, s.Recent[i].Result.Err()
			}
		}
	}
	var res Result
	err := refuse("the command says nothing to do")
	if c.Do != nil && kindOf(c.Do) != "" {
		res, err = c.Do.apply(s, &c)
	}
	if err != nil {
		res = Result{Refused: strings.TrimPrefix(err.Error(), ErrRefused.Error()+": ")}
	}
	if c.ID != (ProposalID{}) {
		s.Recent = append(s.Recent, Recent{ID: c.ID, Result: res})
		s.Recent = append(s.Recent[:0:0], s.Recent[s.forget():]...)
	}
	return res, res.Err()
}

// ApplyEntry applies an encoded command from the log at an index. An entry that
// cannot be read counts as refused: all voters refuse it alike.
func ApplyEntry(s *State, index uint64, data []byte) (ProposalID, Result) {
	return applyEntry(s, index, data, false)
}

func applyEntry(s *State, index uint64, data []byte, change bool) (ProposalID, Result) {
	s.Index = index
	if len(data) == 0 { // raft's own entry at the start of a term
		return ProposalID{}, Result{}
	}
	c, err := DecodeCommand(data)
	if err != nil {
		return c.ID, Result{Refused: err.Error()}
	}
	if c.ChangesVoters() != change {
		return c.ID, Result{Refused: "the command does not fit its entry: voters change by an entry of their own"}
	}
	res, _ := Apply(s, c)
	return c.ID, res
}

// forget counts the oldest proposals to drop; each member of a batch counts as
// one, so that batches cannot swell the snapshot.
func (s *State) forget() int {
	kept := 0
	for i := len(s.Recent) - 1; i >= 0; i-- {
		if kept += 1 + len(s.Recent[i].Result.Batch); kept > maxRecent && i < len(s.Recent)-1 {
			return i + 1
		}
	}
	return 0
}

// note adds an event.
func (s *State) note(c *Command, e Event) {
	e.No, e.WallMS = s.Next.Event, c.WallMS
	s.Next.Event++
	s.Events = append(s.Events, e)
	if n := len(s.Events) - maxEvents; n > 0 {
		s.Events = append(s.Events[:0:0], s.Events[n:]...)
	}
}
