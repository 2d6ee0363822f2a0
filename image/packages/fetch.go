package packages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Cache keeps fetched packages in a folder, by their hash.
type Cache struct {
	Dir  string
	Base string // URL of the archive
	// Arrived, if there is one, is told of every piece of a package that comes from
	// the archive.
	Arrived func(bytes int)
}

// Fetch returns the file of a package, and fetches it if it is not there. What it
// returns has the hash that the lock says.
func (c Cache) Fetch(ctx context.Context, p Package) (string, error) {
	file := filepath.Join(c.Dir, p.SHA256+".deb")
	if b, err := os.ReadFile(file); err == nil && matches(b, p) {
		return file, nil
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	b, err := get(ctx, c.Base+"/"+p.Path, p.Size, c.Arrived)
	if errors.Is(err, errGone) {
		return "", fmt.Errorf("package %s %s is gone from the mirror %s: `make image-lock` renews the lock", p.Name, p.Version, c.Base)
	}
	if err != nil {
		return "", fmt.Errorf("package %s: %w", p.Name, err)
	}
	if !matches(b, p) {
		return "", fmt.Errorf("package %s %s: what the mirror %s sends does not match the lock", p.Name, p.Version, c.Base)
	}
	tmp := file + ".part"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return file, os.Rename(tmp, file)
}

func matches(b []byte, p Package) bool {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]) == p.SHA256
}
