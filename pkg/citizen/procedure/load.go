package procedure

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// maxFile bounds a definition file before it is parsed.
const maxFile = 256 << 10

// ErrDefinition is wrapped by every refusal of a definition file.
var ErrDefinition = errors.New("definition refused")

//go:embed definitions/*.yaml
var shipped embed.FS

// Load reads one definition file and proves it. Syntax errors and unknown keys
// are reported with their line.
func Load(body []byte) (*Definition, error) {
	if len(body) > maxFile {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrDefinition, len(body), maxFile)
	}
	if bytes.ContainsAny(body, "&*") && aliased(body) {
		return nil, fmt.Errorf("%w: anchors and aliases are not used here", ErrDefinition)
	}
	d := &Definition{Hash: sha256.Sum256(body), Body: bytes.Clone(body)}
	dec := yaml.NewDecoder(bytes.NewReader(body), yaml.Strict())
	if err := dec.Decode(d); err != nil {
		return nil, fmt.Errorf("%w:\n%s", ErrDefinition, yaml.FormatError(err, false, true))
	}
	if err := d.verify(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDefinition, err)
	}
	return d, nil
}

// aliased tells whether a value begins like an anchor or an alias; expanding
// them could make a small file very large.
func aliased(body []byte) bool {
	for line := range strings.Lines(string(body)) {
		_, value, _ := strings.Cut(line, ":")
		for _, v := range []string{strings.TrimSpace(value), strings.TrimLeft(line, " -")} {
			if strings.HasPrefix(v, "&") || strings.HasPrefix(v, "*") {
				return true
			}
		}
	}
	return false
}

// Shipped returns the definitions that come with the program, by slug.
func Shipped() ([]*Definition, error) {
	names, err := fs.Glob(shipped, "definitions/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list definitions: %w", err)
	}
	var out []*Definition
	for _, name := range names {
		body, err := shipped.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		d, err := Load(body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b *Definition) int { return strings.Compare(a.Slug, b.Slug) })
	return out, nil
}
