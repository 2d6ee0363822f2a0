package build

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// manifest says what an image is made of.
type manifest struct {
	Version string          `json:"version"`
	Kernel  string          `json:"kernel"`
	Parts   []manifestEntry `json:"parts"`
}

type manifestEntry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// describe writes the manifest, the SBOM and the kernel image beside the disk image,
// and prints the sizes.
func (b *builder) describe(p parts, pieces []part, image, loader []byte) error {
	name := UKIName(b.Version)
	fmt.Fprintf(b.log, "%s: %.1f MB of at most %d\n", name, float64(len(image))/1e6, MaxUKI/1_000_000)
	for _, piece := range pieces {
		fmt.Fprintf(b.log, "  %-10s %6.1f MB\n", piece.name, float64(len(piece.data))/1e6)
	}
	bom, err := b.bom(p)
	if err != nil {
		return err
	}
	if err := writeAll(b.Out, map[string][]byte{"sbom.cdx.json": bom, name: image}); err != nil {
		return err
	}
	m := manifest{Version: b.Version, Kernel: string(p.Release)}
	for _, piece := range append(pieces, part{"init", p.Init}, part{"beffroi", p.Beffroi}, part{"beffroictl", p.Control},
		part{"recovery", p.Recovery}, part{"loader", loader}, part{name, image}, part{"sbom.cdx.json", bom}) {
		m.Parts = append(m.Parts, manifestEntry{piece.name, int64(len(piece.data)), hash(piece.data)})
	}
	disk, err := fileEntry(filepath.Join(b.Out, "beffroi.img"))
	if err != nil {
		return err
	}
	b.memory(disk.SHA256)
	m.Parts = append(m.Parts, disk)
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeAll(b.Out, map[string][]byte{"manifest.json": append(text, '\n')})
}

func fileEntry(file string) (manifestEntry, error) {
	f, err := os.Open(file)
	if err != nil {
		return manifestEntry{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return manifestEntry{filepath.Base(file), n, hex.EncodeToString(h.Sum(nil))}, err
}

// component is one entry of a CycloneDX document.
type component struct {
	Type    string    `json:"type"`
	Name    string    `json:"name"`
	Version string    `json:"version"`
	PURL    string    `json:"purl,omitempty"`
	Scope   string    `json:"scope,omitempty"`
	Hashes  []bomHash `json:"hashes,omitempty"`
}

type bomHash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

// purl escapes what a package URL gives a meaning of its own.
var purl = strings.NewReplacer("%", "%25", "+", "%2B", ":", "%3A")

// bom is the CycloneDX document: Debian's packages by the lock, Go's modules by
// what the linker wrote into the programs.
func (b *builder) bom(p parts) ([]byte, error) {
	var all []component
	for _, d := range b.lock.Packages {
		c := component{Type: "library", Name: d.Name, Version: d.Version, Hashes: []bomHash{{"SHA-256", d.SHA256}},
			PURL: "pkg:deb/debian/" + purl.Replace(d.Name) + "@" + purl.Replace(d.Version) + "?arch=" + d.Arch + "&distro=" + b.lock.Suite}
		if begins(d.Name, tools) {
			c.Scope = "excluded"
		}
		all = append(all, c)
	}
	modules := map[string]component{}
	for _, program := range [][]byte{p.Init, p.Beffroi, p.Control, p.Recovery} {
		info, err := buildinfo.Read(bytes.NewReader(program))
		if err != nil {
			return nil, fmt.Errorf("sbom: %w", err)
		}
		modules["stdlib"] = component{Type: "library", Name: "stdlib", Version: info.GoVersion, PURL: "pkg:golang/stdlib@" + info.GoVersion}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			modules[m.Path+"@"+m.Version] = component{Type: "library", Name: m.Path, Version: m.Version, PURL: "pkg:golang/" + m.Path + "@" + m.Version}
		}
	}
	keys := make([]string, 0, len(modules))
	for k := range modules {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		all = append(all, modules[k])
	}
	text, err := json.MarshalIndent(map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"metadata":   map[string]any{"component": component{Type: "firmware", Name: "beffroi", Version: b.Version}},
		"components": all,
	}, "", "  ")
	return append(text, '\n'), err
}
