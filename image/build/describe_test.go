package build

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"beffroi.dev/image/packages"
)

// TestTheManifestIsTrue recomputes every line of a manifest: of the parts, and of what
// lies in the folder.
func TestTheManifestIsTrue(t *testing.T) {
	program := thisProgram(t)
	var log bytes.Buffer
	b := &builder{Config: config(t), log: &log, lock: packages.Lock{Suite: "s", Packages: []packages.Package{{Name: "liba", Version: "2"}}}}
	if err := os.MkdirAll(b.Out, 0o700); err != nil {
		t.Fatal(err)
	}
	disk, image, loader := []byte("the disk"), bytes.Repeat([]byte("k"), 1_500_000), []byte("the loader")
	if err := writeAll(b.Out, map[string][]byte{"beffroi.img": disk}); err != nil {
		t.Fatal(err)
	}
	p := parts{Release: []byte("6.1.0-x"), Init: program, Beffroi: program, Control: program, Recovery: program}
	pieces := []part{{"microcode", []byte("m")}, {"kernel", []byte("kk")}}
	if err := b.describe(p, pieces, image, loader); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(b.Out, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	if m.Version != "1.2.3" || m.Kernel != "6.1.0-x" {
		t.Errorf("it is of version %q, kernel %q", m.Version, m.Kernel)
	}
	want := map[string][]byte{"microcode": []byte("m"), "kernel": []byte("kk"), "init": program, "beffroi": program, "beffroictl": program,
		"recovery": program, "loader": loader, "beffroi_1.2.3+3.efi": image, "beffroi.img": disk}
	if want["sbom.cdx.json"], err = os.ReadFile(filepath.Join(b.Out, "sbom.cdx.json")); err != nil {
		t.Fatal(err)
	}
	for _, e := range m.Parts {
		data, ok := want[e.Name]
		if sum := fmt.Sprintf("%x", sha256.Sum256(data)); !ok || e.SHA256 != sum || e.Size != int64(len(data)) {
			t.Errorf("%+v; there are %d bytes of %s (known: %v)", e, len(data), sum, ok)
		}
		delete(want, e.Name)
	}
	for name := range want {
		t.Errorf("%s is not in the manifest, or twice", name)
	}
	if written, err := os.ReadFile(filepath.Join(b.Out, "beffroi_1.2.3+3.efi")); err != nil || !bytes.Equal(written, image) {
		t.Errorf("the kernel image in the folder has %d bytes, %v", len(written), err)
	}
	for _, said := range []string{"beffroi_1.2.3+3.efi: 1.5 MB of at most 90\n", "microcode"} {
		if !strings.Contains(log.String(), said) {
			t.Errorf("%q was not said: %s", said, log.String())
		}
	}
}
