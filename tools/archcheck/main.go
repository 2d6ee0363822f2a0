// Command archcheck holds the imports of the whole tree against the law of
// ARCHITECTURE.md: arrows point downward, wings never meet outside the
// appliance, and each foreign dependency has one door.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

const module = "beffroi.dev/"

// pkg is what go list tells about a package.
type pkg struct {
	ImportPath  string
	Imports     []string
	TestImports []string
}

// door names the only packages that may import a dependency.
type door struct {
	dependency string // prefix of an import path
	allowed    []string
}

var doors = []door{
	{"github.com/boombuler/barcode", []string{"pkg/qr"}},
	{"github.com/digitalocean/go-qemu", []string{"pkg/guest/qmp"}},
	{"github.com/coreos/go-systemd", []string{"pkg/host/supervise", "cmd/"}},
	{"github.com/u-root", []string{"pkg/host/", "image/initramfs"}},
	{"github.com/vishvananda/netlink", []string{"pkg/host/netcfg"}},
	{"go.etcd.io/raft", []string{"pkg/quorum/raftnode"}},
	{"go.etcd.io/bbolt", []string{"pkg/quorum/raftnode"}},
	{"github.com/ncruces/go-sqlite3", []string{"pkg/citizen/"}},
	{"github.com/RoaringBitmap/roaring", []string{"pkg/block/mirror"}},
}

// wings are folders of pkg that never import each other.
var wings = []string{"pkg/block", "pkg/quorum", "pkg/guest", "pkg/citizen"}

func main() {
	packages, err := list()
	if err != nil {
		fmt.Fprintln(os.Stderr, "archcheck:", err)
		os.Exit(2)
	}
	faults := check(packages)
	for _, f := range faults {
		fmt.Println(f)
	}
	if len(faults) > 0 {
		os.Exit(1)
	}
}

func list() ([]pkg, error) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports", "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		all = append(all, p)
	}
}

// check returns every import that the law forbids.
func check(packages []pkg) []string {
	var faults []string
	for _, p := range packages {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			if why := forbidden(from, imp); why != "" {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", from, imp, why))
			}
		}
	}
	return faults
}

// forbidden says why a package may not import another, or nothing.
func forbidden(from, imp string) string {
	for _, d := range doors {
		if strings.HasPrefix(imp, d.dependency) && !under(from, d.allowed...) && !under(from, "tools/") {
			return "only " + strings.Join(d.allowed, ", ") + " may"
		}
	}
	to, ours := strings.CutPrefix(imp, module)
	if !ours {
		if imp == "testing" && !strings.HasSuffix(from, "test") && !under(from, "tools/") {
			return "shipped code does not import testing"
		}
		return ""
	}
	top := strings.SplitN(from, "/", 2)[0]
	switch {
	case under(to, "cmd/"), under(to, "tools/") && !under(from, "tools/"):
		return "nothing imports programs"
	case top == "pkg" && !under(to, "pkg/"):
		return "pkg imports no other top folder"
	case top == "board" && !under(to, "board/"):
		return "board imports nothing of ours"
	case top == "image" && under(to, "appliance/"), top == "appliance" && under(to, "image/"):
		return "image and appliance never meet"
	case strings.HasPrefix(to, from+"/") && top == "pkg" && !strings.HasSuffix(from, "test"):
		return "a parent does not import its child"
	}
	a, b := wing(from), wing(to)
	if a != "" && b != "" && a != b {
		return "wings never import each other; the appliance joins them"
	}
	if a == "" && b != "" && top == "pkg" {
		return "the ground imports no wing"
	}
	return ""
}

func wing(p string) string {
	for _, w := range wings {
		if under(p, w+"/") {
			return w
		}
	}
	return ""
}

// under reports whether a package is one of the folders or lies in one.
func under(p string, folders ...string) bool {
	for _, f := range folders {
		if p == strings.TrimSuffix(f, "/") || strings.HasPrefix(p, strings.TrimSuffix(f, "/")+"/") {
			return true
		}
	}
	return false
}
