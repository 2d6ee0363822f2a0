package esp

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var config = Config{Offset: 1 << 20, Size: 160 << 20, Label: "TEST", Serial: 0x12345678}

func files() []File {
	fs := []File{
		{"EFI/BOOT/BOOTX64.EFI", bytes.Repeat([]byte("boot"), 30000)},
		{"EFI/Linux/beffroi_0.1.0+3.efi", bytes.Repeat([]byte{7}, 3*cluster)},
		{"loader/loader.conf", []byte("timeout 0\n")},
		{"loader/empty", nil},
	}
	for i := range 100 { // a folder of several clusters
		fs = append(fs, File{fmt.Sprintf("many/a file with a long name %03d.txt", i), []byte{byte(i)}})
	}
	return fs
}

func image(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "esp.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(config.Offset + config.Size); err != nil {
		t.Fatal(err)
	}
	if err := Write(f, config, files()); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTheSameFilesGiveTheSameBytes(t *testing.T) {
	a, err := os.ReadFile(image(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(image(t))
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("two file systems differ (%v)", err)
	}
}

func tool(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("BEFFROI_REQUIRE_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skip(name + " is not installed")
	}
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s%s", name, err, out, stderr.Bytes())
	}
	return out
}

func TestForeignProgramsReadTheFiles(t *testing.T) {
	name := image(t)
	at := fmt.Sprintf("%s@@%d", name, config.Offset)
	for _, f := range files() {
		if got := tool(t, "mcopy", "-n", "-i", at, "::"+f.Path, "-"); !bytes.Equal(got, f.Data) {
			t.Errorf("%s: %d bytes, want %d", f.Path, len(got), len(f.Data))
		}
	}
}

func TestTheCheckerFindsNoFault(t *testing.T) {
	b, err := os.ReadFile(image(t))
	if err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(t.TempDir(), "alone.img")
	if err := os.WriteFile(alone, b[config.Offset:], 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "fsck.vfat", "-n", alone)
}

func TestWhatCannotBeWrittenIsRefused(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	small := config
	small.Size = 1 << 20
	for name, tc := range map[string]struct {
		c  Config
		fs []File
	}{
		"too small a disk": {small, nil},
		"too much":         {config, []File{{"a", make([]byte, 170<<20)}}},
		"twice":            {config, []File{{"a", nil}, {"a", nil}}},
		"file and folder":  {config, []File{{"a", nil}, {"a/b", nil}}},
		"no name":          {config, []File{{"../a", nil}}},
	} {
		if err := Write(null, tc.c, tc.fs); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}
