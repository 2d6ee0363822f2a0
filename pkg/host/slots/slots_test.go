package slots_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"beffroi.dev/pkg/host/slots"
)

func TestNamesOfEntries(t *testing.T) {
	for name, want := range map[string]slots.Entry{
		"beffroi_0.1.0.efi":         {Version: "0.1.0"},
		"beffroi_0.1.0+3.efi":       {Version: "0.1.0", Trial: true, Left: 3},
		"beffroi_0.1.0+2-1.efi":     {Version: "0.1.0", Trial: true, Left: 2, Done: 1},
		"beffroi_1.2~rc.1+0-12.efi": {Version: "1.2~rc.1", Trial: true, Done: 12},
		"beffroi_2-beta+1.efi":      {Version: "2-beta", Trial: true, Left: 1},
	} {
		got, err := slots.Parse(name)
		if err != nil || got != want || got.Name() != name {
			t.Errorf("%s: %+v, %v, named %s again", name, got, err, got.Name())
		}
	}
	for _, name := range []string{"", "beffroi.efi", "beffroi_.efi", "debian_1.efi", "beffroi_1+.efi", "beffroi_1+3-.efi", "beffroi_1+3000.efi", "beffroi_1+3-1.efi.new", "beffroi_../1.efi", "beffroi_1+-1.efi"} {
		if e, err := slots.Parse(name); err == nil {
			t.Errorf("%q was read as %+v", name, e)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"beffroi_0.1.0+2-1.efi", "beffroi_1.efi", "beffroi_1+0-0.efi"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		e, err := slots.Parse(name)
		if err != nil {
			return
		}
		if strings.ContainsAny(name, "/\\\x00") {
			t.Fatalf("%q names another folder", name)
		}
		if again, err := slots.Parse(e.Name()); err != nil || again != e {
			t.Fatalf("%q: %+v, and then %+v, %v", name, e, again, err)
		}
	})
}

// variable writes what the loader tells, as the kernel shows it.
func variable(t *testing.T, name string, content []byte) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name+"-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func utf(s string) []byte {
	b := []byte{6, 0, 0, 0}
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func TestTheEntryThatWasBooted(t *testing.T) {
	if e, err := slots.Booted(t.TempDir()); err != nil || e.Trial {
		t.Errorf("without the variable: %+v, %v; want none on trial", e, err)
	}
	e, err := slots.Booted(variable(t, "LoaderBootCountPath", utf(`\EFI\Linux\beffroi_0.1.0+2-1.efi`+"\x00")))
	if want := (slots.Entry{Version: "0.1.0", Trial: true, Left: 2, Done: 1}); err != nil || e != want {
		t.Errorf("%+v, %v; want %+v", e, err, want)
	}
	for _, bad := range [][]byte{nil, {6, 0, 0, 0}, {6, 0, 0, 0, 0, 0}, utf(`\EFI\Linux\beffroi_1+2.efi`), utf("nonsense\x00"), make([]byte, 1<<20)} {
		if e, err := slots.Booted(variable(t, "LoaderBootCountPath", bad)); err == nil {
			t.Errorf("%d bytes were read as %+v", len(bad), e)
		}
	}
}

// The loader names its own entries, too, and ours with their counters.
func TestWhetherThereIsAnotherEntry(t *testing.T) {
	this := slots.Entry{Version: "0.2.0", Trial: true, Left: 2, Done: 1}
	const reboot = "auto-reboot-to-firmware-setup\x00"
	for _, tc := range []struct {
		name, entries string
		want          bool
	}{
		{"alone", "beffroi_0.2.0+3.efi\x00" + reboot, false},
		{"after a rename", "beffroi_0.2.0+2-1.efi\x00beffroi_0.2.0.efi\x00", false},
		{"the other slot", "beffroi_0.2.0+3.efi\x00beffroi_0.1.0.efi\x00" + reboot, true},
		{"the other slot, on trial", "beffroi_0.2.0+3.efi\x00beffroi_0.1.0+1-2.efi\x00", true},
		{"the other slot, which has failed", "beffroi_0.2.0+3.efi\x00beffroi_0.1.0+0-3.efi\x00", false},
		{"somebody else's system", "debian_12.efi\x00beffroi_0.2.0+3.efi\x00", false},
	} {
		got, err := slots.Another(variable(t, "LoaderEntries", utf(tc.entries)), this)
		if err != nil || got != tc.want {
			t.Errorf("%s: %v, %v; want %v", tc.name, got, err, tc.want)
		}
	}
	if got, err := slots.Another(t.TempDir(), this); err != nil || got {
		t.Errorf("without the variable: %v, %v; want none", got, err)
	}
	for _, bad := range [][]byte{nil, {6, 0, 0, 0}, utf("beffroi_0.1.0.efi")} {
		if got, err := slots.Another(variable(t, "LoaderEntries", bad), this); err == nil {
			t.Errorf("%d bytes were read as %v", len(bad), got)
		}
	}
}

func FuzzVariables(f *testing.F) {
	f.Add(utf("beffroi_0.2.0+3.efi\x00beffroi_0.1.0.efi\x00"))
	f.Add(utf(`\EFI\Linux\beffroi_1+2.efi` + "\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		e, err := slots.Booted(variable(t, "LoaderBootCountPath", content))
		if again, bad := slots.Parse(e.Name()); err == nil && e != (slots.Entry{}) && (bad != nil || again != e) {
			t.Fatalf("%+v, and then %+v, %v", e, again, bad)
		}
		_, _ = slots.Another(variable(t, "LoaderEntries", content), e)
	})
}

func TestABlessedEntryHasNoCounterAndIsNeverLost(t *testing.T) {
	root := t.TempDir()
	folder := filepath.Join(root, slots.Folder)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	e := slots.Entry{Version: "1.0", Trial: true, Left: 2, Done: 1}
	if err := slots.Bless(root, e); !errors.Is(err, slots.ErrGone) {
		t.Errorf("Bless without the file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(folder, e.Name()), []byte("kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // an init that was started again blesses again
		if err := slots.Bless(root, e); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(folder, "*"))
		if len(files) != 1 || filepath.Base(files[0]) != "beffroi_1.0.efi" {
			t.Errorf("the folder holds %v", files)
		}
	}
}
