package packages

import (
	"fmt"
	"io"
	"path"
	"sort"
	"strings"
)

// Entry is a file or a link, with its contents.
type Entry struct {
	File
	Data []byte
}

// Tree holds files of packages by path. Debian's folders bin, sbin, lib and lib64
// are found below usr, as on a merged system.
type Tree map[string]Entry

// maxFile bounds one file of a package.
const maxFile = 512 << 20

// Add reads the files of a package whose path is wanted; nil wants all.
func (t Tree) Add(deb string, want func(path string) bool) error {
	return Walk(deb, func(f File, r io.Reader) error {
		f.Path = merged(f.Path)
		if f.Hard {
			f.Link = merged(f.Link)
		}
		if f.Mode.IsDir() || want != nil && !want(f.Path) {
			return nil
		}
		if f.Size > maxFile {
			return fmt.Errorf("%s has %d bytes", f.Path, f.Size)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		if f.Hard {
			b, f.Mode, f.Link, f.Hard = t[f.Link].Data, t[f.Link].Mode, "", false
		}
		t[f.Path] = Entry{f, b}
		return nil
	})
}

func merged(p string) string {
	first, _, _ := strings.Cut(p, "/")
	switch first {
	case "bin", "sbin", "lib", "lib32", "lib64", "libx32":
		return "usr/" + p
	}
	return p
}

// Resolve follows links from a path to a file and returns every path on the way,
// the file's last.
func (t Tree) Resolve(p string) ([]string, error) {
	var way []string
	for range 16 {
		e, ok := t[p]
		if !ok {
			return nil, fmt.Errorf("%s is in none of the packages", p)
		}
		way = append(way, p)
		if e.Link == "" {
			return way, nil
		}
		next := e.Link
		if !strings.HasPrefix(next, "/") {
			next = path.Join("/", path.Dir(p), next)
		}
		p = merged(strings.TrimPrefix(path.Clean(next), "/"))
	}
	return nil, fmt.Errorf("%s: links without an end", p)
}

// Below returns the paths in a folder, at any depth, sorted.
func (t Tree) Below(folder string) []string {
	var all []string
	for p := range t {
		if strings.HasPrefix(p, strings.TrimSuffix(folder, "/")+"/") {
			all = append(all, p)
		}
	}
	sort.Strings(all)
	return all
}
