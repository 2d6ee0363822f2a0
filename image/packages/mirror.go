package packages

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultMirror is Debian's own.
const DefaultMirror = "https://deb.debian.org/debian"

// Mirror chooses where packages come from: what is asked for, else the first
// mirror of Debian's main archive among the apt sources below etc, else Debian's.
func Mirror(asked, etc string) string {
	if asked != "" {
		return strings.TrimRight(asked, "/")
	}
	files := []string{filepath.Join(etc, "sources.list")}
	more, _ := filepath.Glob(filepath.Join(etc, "sources.list.d", "*"))
	for _, f := range append(files, more...) {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		urls := oneLine(string(b))
		if strings.HasSuffix(f, ".sources") {
			urls = deb822(string(b))
		} else if !strings.HasSuffix(f, ".list") {
			continue
		}
		for _, u := range urls {
			if u = strings.TrimRight(u, "/"); strings.HasSuffix(u, "/debian") && strings.HasPrefix(u, "http") {
				return u
			}
		}
	}
	return DefaultMirror
}

// oneLine reads the URLs of "deb [options] URL suite component..." lines.
func oneLine(text string) []string {
	var urls []string
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) < 3 || w[0] != "deb" {
			continue
		}
		for i := 1; i < len(w); i++ {
			if strings.Contains(w[i], "://") {
				urls = append(urls, w[i])
				break
			}
		}
	}
	return urls
}

// deb822 reads the URLs of stanzas that are for binary packages and not disabled.
func deb822(text string) []string {
	var urls []string
	for _, s := range stanzas(text) {
		if slices.Contains(strings.Fields(s["Types"]), "deb") && !strings.EqualFold(s["Enabled"], "no") {
			urls = append(urls, strings.Fields(s["URIs"])...)
		}
	}
	return urls
}

// stanzas reads Debian's control format: fields, continued by indented lines,
// in paragraphs; lines that begin with # do not count.
func stanzas(text string) []map[string]string {
	var all []map[string]string
	current, field := map[string]string{}, ""
	flush := func() {
		if len(current) > 0 {
			all = append(all, current)
		}
		current, field = map[string]string{}, ""
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if field != "" {
				current[field] += "\n" + strings.TrimSpace(line)
			}
		default:
			name, value, ok := strings.Cut(line, ":")
			if ok {
				field = name
				current[field] = strings.TrimSpace(value)
			}
		}
	}
	flush()
	return all
}
