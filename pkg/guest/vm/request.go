package vm

import "fmt"

// Verb is what can be asked of a VM.
type Verb uint8

// The verbs.
const (
	Start Verb = iota + 1
	ShutDown
	ForceOff
	Pause
	Resume
	Continue // after a disk error
)

var verbNames = [...]string{Start: "start", ShutDown: "shut down", ForceOff: "force off", Pause: "pause", Resume: "resume", Continue: "continue"}

// String names the verb.
func (v Verb) String() string {
	if int(v) < len(verbNames) && verbNames[v] != "" {
		return verbNames[v]
	}
	return "unknown"
}

// Verdict is the answer to a request.
type Verdict uint8

// The verdicts.
const (
	Accepted Verdict = iota + 1
	Ignored          // already so: nothing to do, and no error
	Denied
)

// String names the verdict.
func (v Verdict) String() string {
	return [...]string{"unknown", "accepted", "ignored", "denied"}[min(int(v), 3)]
}

// maxPending bounds the requests that wait for their turn.
const maxPending = 8

// Request is a verb and the caller's mark of it.
type Request struct {
	Verb Verb
	ID   uint64
}

// Queue decides what may be asked of a VM and in which order it is done. It has
// no locks and no clock. A request is judged by the state that the VM will be in
// when its turn comes, so that a start may be asked for during a shutdown.
type Queue struct {
	state   State
	pending []Request
}

// NewQueue makes a queue for a VM in a state.
func NewQueue(s State) *Queue { return &Queue{state: s} }

// Enter tells the queue the VM's new state.
func (q *Queue) Enter(s State) { q.state = s }

// Ask judges a request and, if it is accepted, queues it. ForceOff overtakes and
// drops all that waits; the marks of what was dropped are returned.
func (q *Queue) Ask(r Request) (v Verdict, reason string, dropped []uint64) {
	if r.Verb == ForceOff {
		if q.state.off() && len(q.pending) == 0 {
			return Ignored, "it does not run", nil
		}
		for _, p := range q.pending {
			dropped = append(dropped, p.ID)
		}
		q.pending = append(q.pending[:0], r)
		return Accepted, "", dropped
	}
	s := settled(q.state)
	for _, p := range q.pending {
		s = after(s, p.Verb)
	}
	v, reason = judge(s, r.Verb)
	if v == Accepted && len(q.pending) == maxPending {
		return Denied, fmt.Sprintf("%d requests wait already", maxPending), nil
	}
	if v == Accepted {
		q.pending = append(q.pending, r)
	}
	return v, reason, nil
}

// Next takes the request whose turn it is. While a start or a shutdown is under
// way only ForceOff has one.
func (q *Queue) Next() (Request, bool) {
	if len(q.pending) == 0 || q.state != settled(q.state) && q.pending[0].Verb != ForceOff {
		return Request{}, false
	}
	r := q.pending[0]
	q.pending = append(q.pending[:0], q.pending[1:]...)
	return r, true
}

// settled is where a state that passes by itself leads to.
func settled(s State) State {
	switch s {
	case Starting:
		return Running
	case ShuttingDown:
		return Stopped
	}
	return s
}

// after is where a verb leads to.
func after(s State, v Verb) State {
	switch v {
	case Start, Resume, Continue:
		return Running
	case ShutDown, ForceOff:
		return Stopped
	case Pause:
		return Paused
	}
	return s
}

// judge is the table of what makes sense when.
func judge(s State, v Verb) (Verdict, string) {
	if v < Start || v > Continue {
		return Denied, "there is no such request"
	}
	switch {
	case s.off() && v == Start:
		return Accepted, ""
	case s.off() && v == ShutDown:
		return Ignored, "it does not run"
	case s.off():
		return Denied, "it does not run"
	}
	switch s {
	case Running:
		switch v {
		case ShutDown, Pause:
			return Accepted, ""
		}
		return Ignored, "it runs"
	case Paused:
		switch v {
		case Resume:
			return Accepted, ""
		case Pause:
			return Ignored, "it is paused"
		case Continue:
			return Ignored, "it is paused by request, not by its disk"
		}
		return Denied, "it is paused: resume it first"
	case PausedIO:
		switch v {
		case Continue, Resume:
			return Accepted, ""
		case Pause:
			return Ignored, "its disk has stopped it"
		}
		return Denied, "its disk has stopped it: it must continue first"
	}
	return Denied, "it is in no known state"
}
