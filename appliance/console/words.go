package console

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

//go:embed words.yaml
var wordsFile []byte

// text is one thing in both languages.
type text struct {
	Fr string `yaml:"fr"`
	En string `yaml:"en"`
}

// catalogue holds every word of the pages by key.
type catalogue map[string]text

func loadWords() (catalogue, error) {
	c := catalogue{}
	if err := yaml.UnmarshalWithOptions(wordsFile, &c, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("read words: %s", yaml.FormatError(err, false, true))
	}
	var faults []error
	for key, t := range c {
		if t.Fr == "" || t.En == "" {
			faults = append(faults, fmt.Errorf("words: %s lacks a language", key))
		}
		t.Fr = frenchSpaces.Replace(t.Fr)
		c[key] = t
	}
	return c, errors.Join(faults...)
}

// frenchSpaces keep the signs of French typography on the line of their word.
var frenchSpaces = strings.NewReplacer(" ?", "\u202f?", " !", "\u202f!", " ;", "\u202f;", " :", "\u00a0:", "« ", "«\u00a0", " »", "\u00a0»")

func (c catalogue) has(key string) bool { _, ok := c[key]; return ok }

// say returns the words of a key. One that is not there is a broken invariant.
func (c catalogue) say(lang, key string, args ...any) string {
	t, ok := c[key]
	if !ok {
		panic("console: no words for " + key)
	}
	s := t.Fr
	if lang == "en" {
		s = t.En
	}
	if len(args) == 0 {
		return s
	}
	if n := verbs(s); n < len(args) && !strings.Contains(s, "%[") {
		args = args[:n]
	}
	if len(args) == 0 {
		return s
	}
	return fmt.Sprintf(s, args...)
}

// verbs counts the values that words take, so that a translation may leave the
// last of them out.
func verbs(s string) int { return strings.Count(s, "%") - 2*strings.Count(s, "%%") }

// count words a number of things.
func (r reader) count(key string, n int) string {
	if n == 1 {
		key += ".one"
	}
	return r.T(key, n)
}

// decimal writes a number's point as the language does.
func (r reader) decimal(s string) string {
	if r.Lang == "fr" {
		return strings.Replace(s, ".", ",", 1)
	}
	return s
}

// size is an amount of bytes, in binary units.
func (r reader) size(n int64) string {
	units := []string{"o", "Kio", "Mio", "Gio", "Tio", "Pio"}
	if r.Lang == "en" {
		units = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	}
	v, i := float64(max(n, 0)), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	format := "%.1f\u00a0%s"
	if v >= 10 || v == float64(int64(v)) {
		format = "%.0f\u00a0%s"
	}
	return r.decimal(fmt.Sprintf(format, v, units[i]))
}

// number is a rate without more digits than help.
func (r reader) number(v float64) string {
	if v > 0 && v < 10 {
		return r.decimal(fmt.Sprintf("%.1f", v))
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		sep := ","
		if r.Lang == "fr" {
			sep = "\u202f"
		}
		s = s[:i] + sep + s[i:]
	}
	return s
}

// span is how long something has been, in its largest fitting unit.
func (r reader) span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d\u00a0s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d\u00a0min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d\u00a0h", int(d.Hours()))
	}
	return r.T("days", int(d.Hours()/24))
}
