package procedure_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/citizen/procedure"
)

func street(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("definitions/signalement-voirie.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheShippedDefinitionsLoad(t *testing.T) {
	all, err := procedure.Shipped()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 || all[0].Slug != "signalement-voirie" {
		t.Errorf("got %d definitions", len(all))
	}
	if _, due := all[0].Law.Silence.On(time.Now()); due {
		t.Error("a report has no date of silence")
	}
}

func TestAFaultyDefinitionIsRefusedAndTheFaultNamed(t *testing.T) {
	good := street(t)
	for _, tc := range []struct{ name, old, new, want string }{
		{"an unknown key, with its line", "family: voirie", "famille: voirie", `[3:1]`},
		{"a missing language", "  en: Report a problem in the street\n", "", `title: the text in "en" is missing`},
		{"no silence rule", "effect: none", "effect: perhaps", "law.silence.effect"},
		{"silence with effect but without period", "effect: none", "effect: reject", "law.silence.after"},
		{"no source for the silence", "source: CRPA L112-11, R112-11-1", "source: ''", "name the rule"},
		{"no retention", "keep: 2 years", "keep: for ever", `write it like "2 months"`},
		{"an unknown retention", "then: destroy", "then: forget", "retention.then"},
		{"a field twice", "id: description", "id: lieu", "used once"},
		{"an unknown field type", "type: passage", "type: novel", "field description.type"},
		{"a text without bound", "max: 2000", "max: 0", "min and max"},
		{"a category that is not asked first", "type: choice", "type: line", "the first must be a required choice"},
		{"a failing test inside", "expect: error:lieu", "expect: ok", "test 4: expected ok, got error:lieu"},
		{"a test about a field that is not there", "contact: 01 02", "telephone: 01 02", `no field "telephone"`},
		{"aliases", "family: voirie", "family: &f voirie", "anchors and aliases"},
		{"a bad name", "procedure: signalement-voirie", "procedure: Voirie !", "lower-case"},
		{"not YAML at all", "procedure: ", "procedure: [", "must be specified"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !strings.Contains(good, tc.old) {
				t.Fatal("the test no longer fits the file")
			}
			_, err := procedure.Load([]byte(strings.Replace(good, tc.old, tc.new, 1)))
			if !errors.Is(err, procedure.ErrDefinition) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v; want it to say %q", err, tc.want)
			}
		})
	}
}

func TestTheHashFollowsEveryByte(t *testing.T) {
	a, err := procedure.Load([]byte(street(t)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := procedure.Load([]byte(street(t) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if a.Hash == b.Hash {
		t.Error("two files, one hash")
	}
}

func TestAnswersAreCleanedAndChecked(t *testing.T) {
	d, err := procedure.Load([]byte(street(t)))
	if err != nil {
		t.Fatal(err)
	}
	ok := procedure.Answers{"categorie": "eau", "lieu": " 3  rue\tHaute ", "description": "Fuite\r\nau pied ", "nir": "1850578006084"}
	got := d.Clean(ok)
	if got["lieu"] != "3 rue Haute" || got["description"] != "Fuite\nau pied" {
		t.Errorf("cleaned to %q", got)
	}
	if _, there := got["nir"]; there {
		t.Error("a field that the form does not ask was kept")
	}
	for _, tc := range []struct{ name, field, value, kind string }{
		{"a control character", "lieu", "rue\x00Haute", "text"},
		{"text that turns direction", "lieu", "rue \u202egauche", "text"},
		{"broken UTF-8", "description", "caf\xff\xfe au lait", "text"},
		{"too long", "lieu", strings.Repeat("é", 201), "long"},
		{"just long enough", "lieu", strings.Repeat("é", 200), ""},
		{"an option that is not offered", "categorie", "licorne", "choice"},
	} {
		a := d.Clean(ok)
		a[tc.field] = tc.value
		if got := d.Check(a, nil)[tc.field].Kind; got != tc.kind {
			t.Errorf("%s: got fault %q; want %q", tc.name, got, tc.kind)
		}
	}
}

func TestPeriodsEndAsDeadlinesDo(t *testing.T) {
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	for _, tc := range []struct {
		period     string
		from, want time.Time
	}{
		{"2 months", day(2026, 12, 31), day(2027, 2, 28)},
		{"2 months", day(2026, 1, 15), day(2026, 3, 15)},
		{"1 year", day(2028, 2, 29), day(2029, 2, 28)},
		{"15 days", day(2026, 12, 20), day(2027, 1, 4)},
		{"2 weeks", day(2026, 1, 1), day(2026, 1, 15)},
	} {
		var p procedure.Period
		if err := p.UnmarshalText([]byte(tc.period)); err != nil {
			t.Fatal(err)
		}
		if got := p.From(tc.from); !got.Equal(tc.want) {
			t.Errorf("%s from %s = %s; want %s", tc.period, tc.from, got, tc.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(street(f)))
	f.Add([]byte("procedure: a\nfields: [{id: a, type: choice}]"))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := procedure.Load(body)
		if err == nil && (len(d.Fields) == 0 || d.Title.Fr == "") {
			t.Fatal("an incomplete definition was accepted")
		}
	})
}
