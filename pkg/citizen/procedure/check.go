package procedure

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of any definition: a form beyond them would be a form nobody finishes.
const (
	maxFields  = 60
	maxOptions = 40
	maxText    = 5000
)

// Answers are what a person entered: field to value. A photo is not in it.
type Answers map[string]string

// Faults tells which field is wrong and how, by a key of the message catalogue.
type Faults map[string]Fault

// Fault is one thing wrong with one field.
type Fault struct {
	Kind  string // required, choice, short, long, text
	Limit int    // characters, for short and long
}

// Clean trims and normalises answers and drops what the form does not ask, so
// that what is kept is what the form showed.
func (d *Definition) Clean(in Answers) Answers {
	out := Answers{}
	for _, f := range d.Fields {
		v := strings.ReplaceAll(in[f.ID], "\r\n", "\n")
		if f.Type != Passage {
			v = strings.Join(strings.Fields(v), " ")
		}
		if v = strings.TrimSpace(v); v != "" && f.Type != Photo {
			out[f.ID] = v
		}
	}
	return out
}

// Check returns the faults of cleaned answers; hasPhoto tells which photo
// fields are filled.
func (d *Definition) Check(a Answers, hasPhoto func(field string) bool) Faults {
	faults := Faults{}
	for _, f := range d.Fields {
		if fault, bad := f.check(a[f.ID], hasPhoto); bad {
			faults[f.ID] = fault
		}
	}
	return faults
}

func (f Field) check(v string, hasPhoto func(string) bool) (Fault, bool) {
	if f.Type == Photo {
		return Fault{Kind: "required"}, f.Required && (hasPhoto == nil || !hasPhoto(f.ID))
	}
	n := utf8.RuneCountInString(v)
	switch {
	case v == "":
		return Fault{Kind: "required"}, f.Required
	case !utf8.ValidString(v) || strings.ContainsFunc(v, forbidden):
		return Fault{Kind: "text"}, true
	case f.Type == Choice:
		_, known := f.Option(v)
		return Fault{Kind: "choice"}, !known
	case n < f.Min:
		return Fault{Kind: "short", Limit: f.Min}, true
	case n > f.Max:
		return Fault{Kind: "long", Limit: f.Max}, true
	}
	return Fault{}, false
}

// forbidden runes have no place in an answer: control characters, and those
// that turn the direction of text around what follows them.
func forbidden(r rune) bool {
	return r != '\n' && unicode.IsControl(r) || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069
}

// verify proves that a definition is complete, and runs its tests.
func (d *Definition) verify() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	text := func(where string, t Text) {
		for _, lang := range Languages {
			if v := t.In(lang); strings.TrimSpace(v) == "" {
				bad("%s: the text in %q is missing", where, lang)
			} else if len(v) > maxText {
				bad("%s: the text in %q is longer than %d bytes", where, lang, maxText)
			}
		}
	}
	if !slug(d.Slug) {
		bad("procedure: %q: use lower-case letters, digits and dashes", d.Slug)
	}
	if d.Version < 1 {
		bad("version: count from 1")
	}
	if d.Family == "" || d.Service == "" {
		bad("family and service must be named")
	}
	text("title", d.Title)
	text("summary", d.Summary)
	text("delay", d.Delay)
	text("urgent", d.Urgent)
	for i, n := range d.Needs {
		text(fmt.Sprintf("needs %d", i+1), n)
	}
	if w := d.Who; !w.Anonymous && !w.Persons && !w.Companies && !w.Associations {
		bad("who: nobody may file")
	}
	d.verifyLaw(bad, text)
	d.verifyFields(bad, text)
	if len(errs) == 0 {
		d.runTests(bad)
	}
	return errors.Join(errs...)
}

func (d *Definition) verifyLaw(bad func(string, ...any), text func(string, Text)) {
	l := d.Law
	if !slices.Contains([]string{"public-task", "legal-obligation", "consent"}, l.Basis) {
		bad("law.basis: %q: public-task, legal-obligation or consent", l.Basis)
	}
	switch l.Silence.Effect {
	case SilenceAccepts, SilenceRejects:
		if l.Silence.After.N == 0 {
			bad("law.silence.after: the effect %q needs a period", l.Silence.Effect)
		}
	case SilenceNone:
		if l.Silence.After.N != 0 {
			bad("law.silence.after: silence without effect has no period")
		}
	default:
		bad("law.silence.effect: %q: accept, reject or none", l.Silence.Effect)
	}
	if l.Silence.Source == "" {
		bad("law.silence.source: name the rule")
	}
	text("law.silence.say", l.Silence.Say)
	text("law.appeal", l.Appeal)
	if d.Retention.Keep.N == 0 {
		bad("retention.keep: missing")
	}
	if d.Retention.Then != "destroy" && d.Retention.Then != "archive" {
		bad("retention.then: %q: destroy or archive", d.Retention.Then)
	}
	text("retention.say", d.Retention.Say)
}

func (d *Definition) verifyFields(bad func(string, ...any), text func(string, Text)) {
	if len(d.Fields) == 0 || len(d.Fields) > maxFields {
		bad("fields: between 1 and %d", maxFields)
		return
	}
	if d.Fields[0].Type != Choice || !d.Fields[0].Required {
		bad("fields: the first must be a required choice, the category: it routes the case")
	}
	seen := map[string]bool{}
	for _, f := range d.Fields {
		where := "field " + f.ID
		if !slug(f.ID) || seen[f.ID] {
			bad("%s: its id must be lower-case, and used once", where)
		}
		seen[f.ID] = true
		text(where+".label", f.Label)
		text(where+".purpose", f.Purpose)
		if f.Hint != (Text{}) {
			text(where+".hint", f.Hint)
		}
		switch f.Type {
		case Choice:
			f.verifyOptions(where, bad, text)
		case Line, Passage, Address:
			if f.Max < 1 || f.Max > maxText || f.Min < 0 || f.Min > f.Max {
				bad("%s: give min and max, at most %d characters", where, maxText)
			}
		case Photo:
		default:
			bad("%s.type: %q: choice, line, passage, address or photo", where, f.Type)
		}
	}
}

func (f Field) verifyOptions(where string, bad func(string, ...any), text func(string, Text)) {
	if len(f.Options) < 2 || len(f.Options) > maxOptions {
		bad("%s.options: between 2 and %d", where, maxOptions)
	}
	seen := map[string]bool{}
	for _, o := range f.Options {
		if !slug(o.ID) || seen[o.ID] {
			bad("%s.options: %q: ids must be lower-case, and used once", where, o.ID)
		}
		seen[o.ID] = true
		text(where+"."+o.ID, o.Label)
	}
}

func slug(s string) bool {
	ok := s != "" && len(s) <= 60
	for _, r := range s {
		ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	}
	return ok
}

func (d *Definition) runTests(bad func(string, ...any)) {
	if len(d.Tests) == 0 {
		bad("tests: at least one")
	}
	for i, t := range d.Tests {
		for id := range t.Given {
			if _, ok := d.Field(id); !ok {
				bad("test %d: there is no field %q", i+1, id)
			}
		}
		given := Answers(t.Given)
		faults := d.Check(d.Clean(given), func(id string) bool { return given[id] != "" })
		got := "ok"
		for _, f := range d.Fields { // the first in the order of the form
			if _, wrong := faults[f.ID]; wrong {
				got = "error:" + f.ID
				break
			}
		}
		if got != t.Expect {
			bad("test %d: expected %s, got %s", i+1, t.Expect, got)
		}
	}
}
