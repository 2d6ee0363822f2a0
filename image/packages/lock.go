package packages

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"sort"
	"strings"
)

// Package is one package of a lock.
type Package struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Arch      string `json:"arch"`
	Component string `json:"component"`
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
	Path      string `json:"path"` // below the archive's base URL
}

// Lock is the exact set of packages that an image is made of.
type Lock struct {
	Suite    string    `json:"suite"`
	Release  string    `json:"release"` // the version of the archive when it was made
	Packages []Package `json:"packages"`
}

// Load reads a lock.
func Load(file string) (Lock, error) {
	var l Lock
	b, err := os.ReadFile(file)
	if err != nil {
		return l, fmt.Errorf("lock: %w", err)
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, fmt.Errorf("lock %s: %w", file, err)
	}
	return l, l.Validate()
}

// Validate reports a lock that cannot be used.
func (l Lock) Validate() error {
	if len(l.Packages) == 0 {
		return errors.New("lock: no packages")
	}
	seen := map[string]bool{}
	for _, p := range l.Packages {
		sum, err := hex.DecodeString(p.SHA256)
		switch {
		case p.Name == "" || p.Version == "" || seen[p.Name]:
			return fmt.Errorf("lock: package %q is there twice or has no version", p.Name)
		case err != nil || len(sum) != 32:
			return fmt.Errorf("lock: %s: %q is no SHA-256", p.Name, p.SHA256)
		case !strings.HasPrefix(p.Path, "pool/") || path.Clean(p.Path) != p.Path || strings.Contains(p.Path, ".."):
			return fmt.Errorf("lock: %s: %q is no path of the archive", p.Name, p.Path)
		case p.Size <= 0 || p.Size > 1<<30:
			return fmt.Errorf("lock: %s: %d bytes", p.Name, p.Size)
		}
		seen[p.Name] = true
	}
	return nil
}

// Save writes a lock, sorted, so that a renewal shows as a small difference.
func (l Lock) Save(file string) error {
	sort.Slice(l.Packages, func(i, j int) bool { return l.Packages[i].Name < l.Packages[j].Name })
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// Find returns a package by the beginning of its name, an exact name first.
func (l Lock) Find(prefix string) (Package, bool) {
	for _, p := range l.Packages {
		if p.Name == prefix {
			return p, true
		}
	}
	for _, p := range l.Packages {
		if strings.HasPrefix(p.Name, prefix) {
			return p, true
		}
	}
	return Package{}, false
}
