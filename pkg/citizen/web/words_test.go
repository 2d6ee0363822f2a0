package web

import (
	"bytes"
	"io/fs"
	"os"
	"regexp"
	"testing"
	"time"

	"beffroi.dev/pkg/citizen/casefile"
)

func TestEveryWordOfTheTemplatesIsInTheCatalogue(t *testing.T) {
	words, err := loadWords()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	need := func(key string) {
		used[key] = true
		if _, ok := words[key]; !ok {
			t.Errorf("no words for %s", key)
		}
	}
	literal := regexp.MustCompile(`\.T "([a-z0-9.]+)"|say\(v\.lang, "([a-z0-9.]+)"[,)]|"(photo\.[a-z]+|follow\.[a-z]+|[a-z0-9]+\.title)"`)
	for _, glob := range []string{"templates/*.html", "*.go"} {
		files, _ := fs.Glob(templates, glob)
		if glob == "*.go" {
			files = []string{"form.go", "follow.go", "agentpages.go"}
		}
		for _, name := range files {
			for _, m := range literal.FindAllSubmatch(readSource(t, name), -1) {
				need(string(bytes.Join(m[1:], nil)))
			}
		}
	}
	for _, s := range casefile.States {
		need("state." + string(s))
		need("status.lead." + string(s))
	}
	for _, w := range casefile.Reasons {
		need("why." + w)
	}
	for _, k := range []string{"filed", "answered", "noted", "closed", "reopened"} {
		need("event." + k)
	}
	for _, p := range []string{"400", "403", "404", "429", "500", "503", "full"} {
		for _, part := range []string{"title", "meaning", "todo"} {
			need("problem." + p + "." + part)
		}
	}
	for _, kind := range []string{"line", "passage", "address", "choice"} {
		need("fault.required." + kind)
		need("fault.text." + kind)
	}
	for key := range words {
		if !used[key] && !regexp.MustCompile(`^(fault|done|silence|privacy\.basis)\.`).MatchString(key) {
			t.Errorf("nobody says %s", key)
		}
	}
}

func TestTheLanguageIsTheBrowsersFirstThatWeSpeak(t *testing.T) {
	for header, want := range map[string]string{
		"": "fr", "en": "en", "en-US,en;q=0.9": "en", "fr-CH, en;q=0.5": "fr", "de-DE,de;q=0.9,en;q=0.8": "en", "de": "fr", "nonsense;;;": "fr", "pt,fr;q=0.5,en;q=0.4": "fr",
	} {
		if got := accepted(header); got != want {
			t.Errorf("accepted(%q) = %s; want %s", header, got, want)
		}
	}
}

func TestDatesReadAsInALetter(t *testing.T) {
	at := time.Date(2026, 8, 1, 9, 5, 0, 0, time.UTC)
	if got := dateTime("fr", at); got != "1er\u00a0août 2026 à\u00a009\u00a0h\u00a005" {
		t.Errorf("French: %q", got)
	}
	if got := dateTime("en", at); got != "1\u00a0August 2026, 09:05" {
		t.Errorf("English: %q", got)
	}
}

func readSource(t *testing.T, name string) []byte {
	t.Helper()
	b, err := fs.ReadFile(os.DirFS("."), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
