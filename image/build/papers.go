package build

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime/debug"
	"sort"
	"time"

	"beffroi.dev/image/initramfs"
)

// paper is an entry of the manifest.
type paper struct {
	Name   string `json:"name"`
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
}

// papers writes the manifest and the bill of materials.
func (j *job) papers(p initramfs.Programs) error {
	m := struct {
		Version string  `json:"version"`
		Built   int64   `json:"built"`
		Parts   []paper `json:"parts"`
	}{Version: j.Version, Built: j.built}
	for _, part := range append(j.parts, part{"init", p.Init}, part{"beffroi", p.Beffroi}, part{"beffroictl", p.Beffroictl}, part{"bb", p.Recovery}) {
		sum := sha256.Sum256(part.data)
		m.Parts = append(m.Parts, paper{part.name, len(part.data), hex.EncodeToString(sum[:])})
	}
	if err := writeJSON(filepath.Join(j.Out, "manifest.json"), m); err != nil {
		return err
	}
	b, err := j.bill(p)
	if err != nil {
		return err
	}
	return writeJSON(filepath.Join(j.Out, "sbom.cdx.json"), b)
}

func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return replace(file, append(b, '\n'))
}

// component and bill are the parts of CycloneDX 1.5 that we use.
type component struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl,omitempty"`
	Hashes  []hash `json:"hashes,omitempty"`
}

type hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

type bill struct {
	Format   string `json:"bomFormat"`
	Spec     string `json:"specVersion"`
	Version  int    `json:"version"`
	Metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	} `json:"metadata"`
	Components []component `json:"components"`
}

// bill lists the packages of the lock and the Go modules inside of the programs.
func (j *job) bill(p initramfs.Programs) (bill, error) {
	b := bill{Format: "CycloneDX", Spec: "1.5", Version: 1}
	b.Metadata.Timestamp = time.Unix(j.built, 0).UTC().Format(time.RFC3339)
	b.Metadata.Component = component{Type: "operating-system", Name: "beffroi", Version: j.Version}
	for _, d := range j.lock.Packages {
		b.Components = append(b.Components, component{Type: "library", Name: d.Name, Version: d.Version,
			PURL:   fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s", d.Name, url.QueryEscape(d.Version), d.Arch, j.lock.Suite),
			Hashes: []hash{{"SHA-256", d.SHA256}}})
	}
	modules := map[string]component{}
	for _, program := range [][]byte{p.Init, p.Beffroi, p.Beffroictl, p.Recovery} {
		info, err := buildinfo.Read(bytes.NewReader(program))
		if err != nil {
			return b, fmt.Errorf("build: the modules of a program: %w", err)
		}
		modules["go"] = component{Type: "library", Name: "stdlib", Version: info.GoVersion, PURL: "pkg:golang/stdlib@" + info.GoVersion}
		for _, d := range info.Deps {
			add(modules, d)
		}
	}
	names := make([]string, 0, len(modules))
	for n := range modules {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		b.Components = append(b.Components, modules[n])
	}
	return b, nil
}

func add(modules map[string]component, d *debug.Module) {
	if d.Replace != nil {
		d = d.Replace
	}
	modules[d.Path+"@"+d.Version] = component{Type: "library", Name: d.Path, Version: d.Version, PURL: "pkg:golang/" + d.Path + "@" + d.Version}
}
