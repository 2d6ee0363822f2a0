package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// stage returns a folder with files that depend on nothing but the inputs and the
// code that makes it (makers); it is made when the cache does not hold it.
func (b *builder) stage(name string, inputs []string, make func(dir string) error) (string, error) {
	key := hash([]byte(b.maker + "\n" + strings.Join(inputs, "\n")))
	dir := filepath.Join(b.Cache, "stage", name+"-"+key[:24])
	if _, err := os.Stat(dir); err == nil {
		b.say("%s: kept from an earlier build", name)
		return dir, nil
	}
	b.say("%s: being made", name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	old, _ := filepath.Glob(filepath.Join(b.Cache, "stage", name+"-*"))
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "making-"+name+"-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := make(tmp); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", err
	}
	for _, o := range old { // what no build will ask for again
		os.RemoveAll(o)
	}
	return dir, nil
}

// files reads the files of a folder.
func files(dir string, names ...string) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil {
			return nil, err
		}
		all[n] = b
	}
	return all, nil
}
