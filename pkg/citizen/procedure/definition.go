package procedure

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Languages that every text must have, the first being the reference.
var Languages = []string{"fr", "en"}

// Text is one text in every language.
type Text struct {
	Fr string `yaml:"fr"`
	En string `yaml:"en"`
}

// In returns the text in a language; an unknown one reads as French.
func (t Text) In(lang string) string {
	if lang == "en" {
		return t.En
	}
	return t.Fr
}

// Hash names a definition by its bytes.
type Hash [sha256.Size]byte

// String prints the name in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Definition is one démarche as it was written.
type Definition struct {
	Slug      string    `yaml:"procedure"`
	Version   int       `yaml:"version"`
	Family    string    `yaml:"family"`
	Title     Text      `yaml:"title"`
	Summary   Text      `yaml:"summary"`
	Needs     []Text    `yaml:"needs"`  // what to have at hand
	Delay     Text      `yaml:"delay"`  // what to expect, and when
	Urgent    Text      `yaml:"urgent"` // what to do when it cannot wait
	Who       Who       `yaml:"who"`
	Service   string    `yaml:"service"` // key of the service in charge; the town gives its contact
	Law       Law       `yaml:"law"`
	Retention Retention `yaml:"retention"`
	Fields    []Field   `yaml:"fields"`
	Tests     []Test    `yaml:"tests"`

	Hash Hash   `yaml:"-"`
	Body []byte `yaml:"-"` // the file itself
}

// Who says who may file.
type Who struct {
	Anonymous    bool `yaml:"anonymous"`
	Persons      bool `yaml:"persons"`
	Companies    bool `yaml:"companies"`
	Associations bool `yaml:"associations"`
}

// Law holds what the receipt must say.
type Law struct {
	Basis   string  `yaml:"basis"` // of the processing of personal data
	Silence Silence `yaml:"silence"`
	Appeal  Text    `yaml:"appeal"`
}

// The effects of silence.
const (
	SilenceAccepts = "accept"
	SilenceRejects = "reject"
	SilenceNone    = "none" // what is filed is not a request for a decision
)

// Silence says what it means when nobody answers.
type Silence struct {
	Effect string `yaml:"effect"`
	After  Period `yaml:"after"` // from the day after filing; absent when the effect is none
	Source string `yaml:"source"`
	Say    Text   `yaml:"say"` // printed on the receipt
}

// On returns the date on which silence takes effect; false when it has none.
func (s Silence) On(filed time.Time) (time.Time, bool) {
	if s.Effect == SilenceNone {
		return time.Time{}, false
	}
	return s.After.From(filed), true
}

// Retention says how long a closed case is kept and what follows.
type Retention struct {
	Keep Period `yaml:"keep"` // from its closing
	Then string `yaml:"then"` // destroy or archive
	Say  Text   `yaml:"say"`
}

// The kinds of field.
const (
	Choice  = "choice"
	Line    = "line"    // one line of text
	Passage = "passage" // several lines
	Address = "address" // a place in words
	Photo   = "photo"
)

// Field is one question of a form.
type Field struct {
	ID       string   `yaml:"id"`
	Type     string   `yaml:"type"`
	Label    Text     `yaml:"label"`
	Hint     Text     `yaml:"hint"`
	Purpose  Text     `yaml:"purpose"` // why it is asked, for the register of processing
	Required bool     `yaml:"required"`
	Min      int      `yaml:"min"` // characters
	Max      int      `yaml:"max"` // characters
	Options  []Option `yaml:"options"`
	Complete string   `yaml:"autocomplete"` // HTML token, for what a browser may know
}

// Option is one answer of a choice.
type Option struct {
	ID     string `yaml:"id"`
	Label  Text   `yaml:"label"`
	Hint   Text   `yaml:"hint"`
	Icon   string `yaml:"icon"`
	Danger bool   `yaml:"danger"` // the case goes to the top of the agents' list
}

// Option returns an answer of a choice by its id.
func (f Field) Option(id string) (Option, bool) {
	for _, o := range f.Options {
		if o.ID == id {
			return o, true
		}
	}
	return Option{}, false
}

// Field returns a field by its id.
func (d *Definition) Field(id string) (Field, bool) {
	for _, f := range d.Fields {
		if f.ID == id {
			return f, true
		}
	}
	return Field{}, false
}

// Category is the field that routes the case: the first, always a choice.
func (d *Definition) Category() Field { return d.Fields[0] }

// Test is one example inside the file: given these answers, expect "ok" or
// "error:FIELD".
type Test struct {
	Given  map[string]string `yaml:"given"`
	Expect string            `yaml:"expect"`
}

// Period is a span of the calendar: days, weeks, months or years.
type Period struct {
	N    int
	Unit string
}

// UnmarshalText reads "2 months".
func (p *Period) UnmarshalText(b []byte) error {
	var q Period
	if _, err := fmt.Sscanf(string(b), "%d %s", &q.N, &q.Unit); err != nil || q.N < 1 || q.N > 1000 {
		return fmt.Errorf("period %q: write it like \"2 months\"", b)
	}
	switch q.Unit {
	case "day", "days", "week", "weeks", "month", "months", "year", "years":
	default:
		return fmt.Errorf("period %q: days, weeks, months or years", b)
	}
	if q.Unit[len(q.Unit)-1] != 's' {
		q.Unit += "s"
	}
	*p = q
	return nil
}

// From returns the last day of a period that starts the day after t. A month
// too short for the day ends on its last day, as deadlines of the law do.
func (p Period) From(t time.Time) time.Time {
	y, m, d := t.Date()
	switch p.Unit {
	case "days":
		return t.AddDate(0, 0, p.N)
	case "weeks":
		return t.AddDate(0, 0, 7*p.N)
	case "years":
		y += p.N
	default:
		m += time.Month(p.N)
	}
	last := time.Date(y, m+1, 0, 0, 0, 0, 0, t.Location()).Day()
	return time.Date(y, m, min(d, last), 0, 0, 0, 0, t.Location())
}
