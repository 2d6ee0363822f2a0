package web

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/text/language"

	"beffroi.dev/pkg/citizen/procedure"
)

//go:embed words.yaml
var wordsFile []byte

// catalogue holds every word of the pages, in every language, by key.
type catalogue map[string]procedure.Text

func loadWords() (catalogue, error) {
	c := catalogue{}
	if err := yaml.UnmarshalWithOptions(wordsFile, &c, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("read words: %s", yaml.FormatError(err, false, true))
	}
	var errs []error
	for key, t := range c {
		c[key] = procedure.Text{Fr: french(t.Fr), En: t.En}
		if t.Fr == "" || t.En == "" {
			errs = append(errs, fmt.Errorf("words: %s lacks a language", key))
		} else if strings.Count(t.Fr, "%") != strings.Count(t.En, "%") {
			errs = append(errs, fmt.Errorf("words: %s takes other values in each language", key))
		}
	}
	return c, errors.Join(errs...)
}

// french keeps the signs of French typography on the line of their word.
func french(s string) string { return frenchSpaces.Replace(s) }

var frenchSpaces = strings.NewReplacer(" ?", "\u202f?", " !", "\u202f!", " ;", "\u202f;", " :", "\u00a0:", "« ", "«\u00a0", " »", "\u00a0»")

func known(lang string) bool { return lang == "fr" || lang == "en" }

var matcher = language.NewMatcher([]language.Tag{language.French, language.English})

// accepted picks a language from the browser's list; French when in doubt.
func accepted(header string) string {
	if len(header) > 200 {
		return "fr"
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil || len(tags) == 0 {
		return "fr"
	}
	_, i, confidence := matcher.Match(tags...)
	if i == 1 && confidence > language.No {
		return "en"
	}
	return "fr"
}

// say returns the words of a key in a language. A key that is not there is a
// broken invariant; a test walks all templates to keep it.
func (c catalogue) say(lang, key string, args ...any) string {
	t, ok := c[key]
	if !ok {
		panic("web: no words for " + key)
	}
	if len(args) == 0 {
		return t.In(lang)
	}
	return fmt.Sprintf(t.In(lang), args...)
}

var months = map[string][]string{
	"fr": {"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"},
	"en": {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"},
}

// date writes a day as a letter would.
func date(lang string, t time.Time) string {
	day := fmt.Sprint(t.Day())
	if lang == "fr" && t.Day() == 1 {
		day = "1er"
	}
	return day + "\u00a0" + months[lang][t.Month()-1] + " " + fmt.Sprint(t.Year())
}

// dateTime adds the time of day.
func dateTime(lang string, t time.Time) string {
	if lang == "en" {
		return date(lang, t) + ", " + t.Format("15:04")
	}
	return date(lang, t) + " à\u00a0" + t.Format("15") + "\u00a0h\u00a0" + t.Format("04")
}
