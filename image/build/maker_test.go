package build

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestAStageIsMadeByNothingButItsMakers: code that makes a stage, and whose change
// would not make it again, would leave images of two builders different.
func TestAStageIsMadeByNothingButItsMakers(t *testing.T) {
	// Paths of the makers, in their order; of this package two files only.
	folders := []string{".", "../packages", "../initramfs", "../userland"}
	if len(folders) != len(makers) {
		t.Fatalf("%d makers", len(makers))
	}
	known := []string{"beffroi.dev/image/packages", "beffroi.dev/image/initramfs", "beffroi.dev/image/userland"}
	for i, files := range makers {
		names, err := fs.Glob(files, "*.go")
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", folders[i], names, err)
		}
		for _, n := range names {
			if strings.HasSuffix(n, "_test.go") || n == "skeleton.go" { // the skeleton is in no stage, but packed at each build
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(folders[i], n), nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range f.Imports {
				path, err := strconv.Unquote(imp.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(path, "beffroi.dev/") && !slices.Contains(known, path) {
					t.Errorf("%s/%s imports %s, which is no maker", folders[i], n, path)
				}
			}
		}
		if i == 0 {
			continue
		}
		here, err := filepath.Glob(filepath.Join(folders[i], "*.go"))
		if err != nil || len(here) != len(names) {
			t.Errorf("%s: %d files, %d of them embedded (%v)", folders[i], len(here), len(names), err)
		}
	}
	a, err := makerHash()
	if err != nil {
		t.Fatal(err)
	}
	all := makers
	defer func() { makers = all }()
	makers = all[:len(all)-1]
	if b, err := makerHash(); err != nil || a == b {
		t.Errorf("without a maker it is the same (%v)", err)
	}
}
