package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// outline lists every key of a JSON value with its type, one a line; elements of an
// array share one line.
func outline(v any) string {
	lines := map[string]bool{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			lines[path+" object"] = true
			for k, e := range v {
				walk(path+"."+k, e)
			}
		case []any:
			lines[path+" array"] = true
			for _, e := range v {
				walk(path+"[]", e)
			}
		case nil:
			lines[path+" null"] = true
		case string:
			lines[path+" string"] = true
		case bool:
			lines[path+" boolean"] = true
		default:
			lines[path+" number"] = true
		}
	}
	walk("", v)
	var all []string
	for l := range lines {
		all = append(all, l)
	}
	slices.Sort(all)
	return strings.Join(all, "\n") + "\n"
}

// golden holds the shape of a value against testdata/NAME.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	got, path := outline(v), filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has another shape (docs/lab.md describes it; -rewrite takes it over):\n%s", name, difference(string(want), got))
	}
}

func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var b strings.Builder
	for _, l := range w {
		if !slices.Contains(g, l) {
			fmt.Fprintf(&b, "- %s\n", l)
		}
	}
	for _, l := range g {
		if !slices.Contains(w, l) {
			fmt.Fprintf(&b, "+ %s\n", l)
		}
	}
	return b.String()
}

// full is a status in which nothing is left out.
func full() Status {
	return Status{
		Nodes: []NodeStatus{{Name: "a", State: "running", PIDs: []int{1}, Ready: true}},
		Votes: VoteStatus{Leader: "a", Term: 1, Vouched: []string{"a"}},
		Volumes: []VolumeStatus{{Name: "g/v", Size: 1, Primary: "a", Epoch: 1, InSync: []string{"a"}, State: "resync",
			Resync: &Resync{Percent: 1, CopiedBytes: 1, DirtyBytes: 1, LeftMS: 1}}},
		VMs:     []VMStatus{{Name: "vm", Node: "a", State: "running"}},
		Citizen: "a",
		Links:   []linkState{{Link: "lan-a", From: "a", Cut: true, Delay: "1s", Loss: 0.5}},
	}
}

func TestTheShapeOfAFullStatusIsStable(t *testing.T) {
	b, err := json.Marshal(full())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "status-full.txt", b)
}

func TestTheShapesThatALabGivesAreStable(t *testing.T) {
	r := newRig(t)
	b, err := os.ReadFile(filepath.Join(r.Dir, "lab.json"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "lab.txt", b)
	settled(t, r)
	do(t, r, "shape", "lan-w", "--delay", "1ms", "--loss", "0.001")
	if b, err = r.Do("status", "--json"); err != nil {
		t.Fatal(err)
	}
	golden(t, "status.txt", b)
}

func TestTheManualNamesEveryField(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "lab.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lab.txt", "status-full.txt"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			path, _, _ := strings.Cut(line, " ")
			key := path[strings.LastIndexByte(path, '.')+1:]
			if key = strings.TrimRight(key, "[]"); key != "" && !strings.Contains(string(manual), "`"+key+"`") {
				t.Errorf("docs/lab.md does not name %s (%s)", key, strings.TrimSpace(line))
			}
		}
	}
}
