package casefile

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"beffroi.dev/pkg/citizen/procedure"
	"beffroi.dev/pkg/citizen/store"
)

// State is where a case stands.
type State string

// The states of a case; doc.go draws the arrows.
const (
	Filed    State = "filed"
	Answered State = "answered"
	Closed   State = "closed"
	Reopened State = "reopened"
)

// States in the order in which agents want to see them.
var States = []State{Filed, Reopened, Answered, Closed}

// Kind is what an event did.
type Kind string

// The kinds of event.
const (
	KindFiled    Kind = "filed"
	KindAnswered Kind = "answered" // a message the applicant sees
	KindNoted    Kind = "noted"    // a note only agents see
	KindClosed   Kind = "closed"
	KindReopened Kind = "reopened"
)

var (
	// ErrNotFound is returned for a case that does not exist.
	ErrNotFound = errors.New("no such case")
	// ErrStep is returned for an act that the state of the case does not allow.
	ErrStep = errors.New("the case does not allow this now")
	// ErrEmpty is returned for an answer, note or closing without words.
	ErrEmpty = errors.New("words are missing")
	// ErrLong is returned for words beyond MaxWords.
	ErrLong = errors.New("too many words")
	// ErrChain is returned when the events of a case do not hold together.
	ErrChain = errors.New("the events of the case were changed")
)

// MaxWords bounds what an agent writes in one act, in bytes.
const MaxWords = 8000

// next is the table of acts: which state an act leads to, from where.
func next(from State, act Kind) (State, error) {
	switch {
	case act == KindNoted:
		return from, nil
	case act == KindAnswered && from == Closed: // words after the end do not open it again
		return Closed, nil
	case act == KindAnswered:
		return Answered, nil
	case act == KindClosed && from != Closed:
		return Closed, nil
	case act == KindReopened && from == Closed:
		return Reopened, nil
	}
	return from, fmt.Errorf("%w: %s a case that is %s", ErrStep, act, from)
}

// Reasons why a case is closed, in the order they are offered.
var Reasons = []string{"done", "planned", "duplicate", "elsewhere", "nothing"}

// Event is one line of a case's history.
type Event struct {
	Seq   int
	Kind  Kind
	Actor string // "citizen", or the agent's name
	At    time.Time
	Words string
	Why   string // of a closing: one of Reasons
	hash  store.Sum
	prev  store.Sum
	data  string
}

// Public tells whether the applicant may see the event.
func (e Event) Public() bool { return e.Kind != KindNoted }

// payload is what an event keeps beside its columns.
type payload struct {
	Words string `json:"words,omitempty"`
	Why   string `json:"why,omitempty"`
	// Of a filing: what this node knew when it began, and the digest of what was filed.
	Epoch  uint64 `json:"epoch,omitempty"`
	Copies int    `json:"copies,omitempty"`
	Digest string `json:"digest,omitempty"`
}

// seal computes the hash of an event over all it holds and the hash before it.
func (e *Event) seal(casefile int64) {
	h := sha256.New()
	h.Write(e.prev[:])
	for _, n := range []int64{casefile, int64(e.Seq), e.At.UnixMilli()} {
		_ = binary.Write(h, binary.LittleEndian, n) // a hash never fails
	}
	for _, s := range []string{string(e.Kind), e.Actor, e.data} {
		_ = binary.Write(h, binary.LittleEndian, int64(len(s)))
		h.Write([]byte(s))
	}
	e.hash = store.Sum(h.Sum(nil))
}

// Contact is the service in charge, as the law wants it on a receipt.
type Contact struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Phone   string `json:"phone"`
	Email   string `json:"email"`
}

// File is one attached photo.
type File struct {
	Field         string
	Sum           store.Sum
	Width, Height int
}

// Case is one case with its history.
type Case struct {
	ID         int64
	Code       Code
	Slug       string
	Definition procedure.Hash
	Category   string
	State      State
	Lang       string
	Answers    procedure.Answers
	Contact    Contact
	FiledAt    time.Time
	ChangedAt  time.Time
	Files      []File
	Events     []Event
}

// Number is what agents call a case; unlike the code it opens nothing.
func (c Case) Number() string { return fmt.Sprintf("%d-%05d", c.FiledAt.Year(), c.ID) }

// digest is the SHA-256 of what was filed, printed on the receipt.
func digest(slug string, def procedure.Hash, a procedure.Answers, files []File) string {
	h := sha256.New()
	h.Write([]byte(slug))
	h.Write(def[:])
	b, _ := json.Marshal(a) // a map of strings; keys are sorted
	h.Write(b)
	for _, f := range slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Field, b.Field) }) {
		h.Write([]byte(f.Field))
		h.Write(f.Sum[:])
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// Digest returns the fingerprint of what was filed, from the first event.
func (c Case) Digest() string {
	if len(c.Events) == 0 {
		return ""
	}
	var p payload
	_ = json.Unmarshal([]byte(c.Events[0].data), &p) // checked when the case was read
	return p.Digest
}

// checkChain proves that no event was changed, removed or put in between.
func (c Case) checkChain() error {
	var prev store.Sum
	for i, e := range c.Events {
		want := e
		want.seal(c.ID)
		if e.Seq != i+1 || e.prev != prev || e.hash != want.hash {
			return fmt.Errorf("case %d, event %d: %w", c.ID, i+1, ErrChain)
		}
		prev = e.hash
	}
	return nil
}
