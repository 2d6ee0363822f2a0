package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, name := range tools {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("BEFFROI_REQUIRE_TOOLS") == "1" {
				t.Fatalf("%s is required: %v", name, err)
			}
			t.Skipf("%s is not installed", name)
		}
	}
}

func TestTheProgramIsThatOfItsSource(t *testing.T) {
	need(t, "as", "ld")
	dir := t.TempDir()
	object, binary := filepath.Join(dir, "o"), filepath.Join(dir, "b")
	for _, cmd := range [][]string{{"as", "--32", "-o", object, "boot.asm"}, {"ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", binary, object}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	if got, err := os.ReadFile(binary); err != nil || !bytes.Equal(got, boot) {
		t.Errorf("boot.bin is not what boot.asm assembles to (%v): see README.md", err)
	}
}

func TestTheImageLooksLikeADisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := run([]string{"-o", path}, nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != imageSize || b[510] != 0x55 || b[511] != 0xaa || (8+binary.LittleEndian.Uint32(b[458:]))*512 != imageSize {
		t.Errorf("%d bytes, signature %x, partition of %d sectors", len(b), b[510:512], binary.LittleEndian.Uint32(b[458:]))
	}
	var out strings.Builder
	if err := run([]string{"-show", path}, &out); err != nil || out.String() != "0\n" {
		t.Errorf("a new image shows %q (%v)", out.String(), err)
	}
	if err := run(nil, nil); err == nil {
		t.Error("no arguments are not refused")
	}
}

var printed = regexp.MustCompile(`(?m)^(counter|counter guest resumes at) (\d+)\r?$`)

// boots runs the guest for a while, kills it and returns what it resumed at and
// the last number that it printed.
func boots(t *testing.T, path string) (resumed, last int) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "serial")
	cmd := exec.Command("qemu-system-x86_64", "-nodefaults", "-nic", "none", "-display", "none", "-vga", "none", "-machine", "q35,accel=tcg",
		"-m", "32M", "-serial", "file:"+log, "-drive", "if=virtio,format=raw,file="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if b, _ := os.ReadFile(log); bytes.Count(b, []byte("\ncounter ")) > 20 {
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	b, _ := os.ReadFile(log)
	resumed = -1
	for _, m := range printed.FindAllSubmatch(b, -1) {
		n, _ := strconv.Atoi(string(m[2]))
		if string(m[1]) != "counter" {
			resumed = n
		} else if last = n; resumed < 0 {
			t.Fatalf("it counts before it resumes:\n%s", b)
		}
	}
	return resumed, last
}

func TestTheGuestResumesWhereItWasKilled(t *testing.T) {
	need(t, "qemu-system-x86_64")
	path := filepath.Join(t.TempDir(), "image")
	if err := run([]string{"-o", path}, nil); err != nil {
		t.Fatal(err)
	}
	_, first := boots(t, path)
	resumed, second := boots(t, path)
	if first < 20 || resumed < first || resumed > first+1 || second <= resumed {
		t.Errorf("counted to %d, killed, resumed at %d, counted to %d", first, resumed, second)
	}
	if n, err := counter(path); err != nil || int(n) < second {
		t.Errorf("the disk holds %d (%v); %d was printed", n, err, second)
	}
}
