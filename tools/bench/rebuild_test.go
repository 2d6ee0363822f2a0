package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheSecondBuildIsOfAChangedLine has a made-up source whose mkimage notes what it
// was called with and what it was built from.
func TestTheSecondBuildIsOfAChangedLine(t *testing.T) {
	source := t.TempDir()
	cache := filepath.Join(t.TempDir(), "out", "cache")
	for name, text := range map[string]string{
		"go.mod": "module beffroi.test\n\ngo 1.21\n", "go.sum": "", "appliance/a.txt": "", "board/a.txt": "", "image/a.txt": "",
		changedFile: "package layout\n",
		"cmd/mkimage/main.go": `package main

import (
	"fmt"
	"os"

	_ "beffroi.test/pkg/host/layout"
)

func main() {
	line, err := os.ReadFile("` + changedFile + `")
	if err != nil {
		panic(err)
	}
	f, err := os.OpenFile(os.Args[5]+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintln(f, os.Args[1], os.Args[2], os.Args[4], os.Getenv("SOURCE_DATE_EPOCH") != "", len(line) > 20)
}
`} {
		file := filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	took, err := rebuild(t.Context(), source, cache)
	if err != nil || took <= 0 {
		t.Fatalf("%v, %v", took, err)
	}
	log, err := os.ReadFile(filepath.Join(cache, "log"))
	if want := "build -out -cache true false\nbuild -out -cache true true\n"; err != nil || string(log) != want {
		t.Errorf("%q, %v; want %q", log, err, want)
	}
	if b, err := os.ReadFile(filepath.Join(source, changedFile)); err != nil || strings.Contains(string(b), "ChangedLine") {
		t.Errorf("our own source was changed: %s, %v", b, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(cache), "rebuild-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := rebuild(t.Context(), t.TempDir(), cache); err == nil {
		t.Error("a folder without our source was built")
	}
}
