package pairing

import (
	"errors"
	"fmt"
	"strings"
)

// Reason names why something is refused or went wrong; the console has words for
// each in the reader's language.
type Reason string

// The reasons.
const (
	CodeCharacter Reason = "code-character" // a character that no code has
	CodeLength    Reason = "code-length"
	CodeTyped     Reason = "code-typed"  // the check character says so
	CodeWrong     Reason = "code-wrong"  // the member says so
	CodePaused    Reason = "code-paused" // too many wrong ones: wait
	NotHeard      Reason = "not-heard"   // no member with this code is heard
	Unreachable   Reason = "unreachable"
	Lost          Reason = "lost"          // the connection, in the middle
	OtherVersion  Reason = "other-version" // of this protocol
	OtherRelease  Reason = "other-release"
	SameIdentity  Reason = "same-identity"
	WrongKind     Reason = "wrong-kind" // a witness where a node is wanted, or the reverse
	NotBlank      Reason = "not-blank"  // it belongs to a pair
	StoreTaken    Reason = "store-taken"
	OtherFounder  Reason = "other-founder" // it has prepared for somebody else
	NoFibre       Reason = "no-fibre"
	Unknown       Reason = "unknown-founding"
	BadDocument   Reason = "bad-document"
	BadMessage    Reason = "bad-message"
	BadRequest    Reason = "bad-request"
	NotNow        Reason = "not-now" // out of order
	Disk          Reason = "disk"
	TwinAlive     Reason = "twin-alive" // a node that is heard is not replaced
	Refused       Reason = "refused"    // by the rules of the pair
	NoVotes       Reason = "no-votes"   // the vote does not answer
	Undecided     Reason = "undecided"  // the vote was asked for another machine, and has not answered yet
)

// Fault is a refusal with its reason; Detail is a name, an address or a text of
// the system beside it.
type Fault struct {
	Reason Reason `json:"reason"`
	Detail string `json:"detail,omitempty"`
}

func (f *Fault) Error() string {
	if f.Detail == "" {
		return "pairing: " + string(f.Reason)
	}
	return fmt.Sprintf("pairing: %s: %s", f.Reason, f.Detail)
}

func fault(r Reason, detail ...string) *Fault {
	return &Fault{Reason: r, Detail: strings.Join(detail, " ")}
}

// AsFault finds the Fault in an error; any other error becomes one with the reason
// that is given.
func AsFault(err error, otherwise Reason) *Fault {
	var f *Fault
	if err == nil || errors.As(err, &f) {
		return f
	}
	return fault(otherwise, err.Error())
}
