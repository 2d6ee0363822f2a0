package build

import (
	"embed"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strings"

	"beffroi.dev/image/initramfs"
	"beffroi.dev/image/packages"
	"beffroi.dev/image/userland"
)

//go:embed parts.go stage.go
var source embed.FS

// makers are the sources of all that makes a stage. They import nothing else of ours,
// so that a line changed elsewhere leaves every stage as it was.
var makers = []embed.FS{source, packages.Source, initramfs.Source, userland.Source}

// makerHash stands for the code that makes the stages: another builder may build
// otherwise. It is of the sources that this very program was built from, of the
// modules that it holds and of its compiler, not of what lies in a folder meanwhile.
func makerHash() (string, error) {
	var all strings.Builder
	if info, ok := debug.ReadBuildInfo(); ok {
		fmt.Fprintln(&all, info.GoVersion)
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			fmt.Fprintln(&all, m.Path, m.Version, m.Sum)
		}
	}
	for i, files := range makers {
		names, err := fs.Glob(files, "*.go")
		if err != nil {
			return "", err
		}
		for _, n := range names {
			if strings.HasSuffix(n, "_test.go") {
				continue
			}
			b, err := files.ReadFile(n)
			if err != nil {
				return "", err
			}
			fmt.Fprintln(&all, i, n, hash(b))
		}
	}
	return hash([]byte(all.String())), nil
}
