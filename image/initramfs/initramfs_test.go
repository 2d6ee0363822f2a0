package initramfs

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func skeleton(t *testing.T) []byte {
	t.Helper()
	b, err := Pack(Skeleton(Programs{Init: []byte("init"), Beffroi: []byte("b"), Beffroictl: []byte("c"), Recovery: []byte("bb")}, OSRelease("1.2", 7), []byte("conf")))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheOrderOfEntriesDoesNotMatter(t *testing.T) {
	entries := Skeleton(Programs{Init: []byte("init")}, OSRelease("1", 7), nil)
	a, err := Pack(entries)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(entries)
	b, err := Pack(entries)
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("the bytes differ (%v)", err)
	}
	if len(a)%4 != 0 {
		t.Errorf("%d bytes: what follows would not be found", len(a))
	}
}

func TestAnArchiveWithUnclearPathsIsRefused(t *testing.T) {
	for _, entries := range [][]Entry{{File("a", nil), File("a", nil)}, {File("/a", nil)}, {File("../a", nil)}, {File("", nil)}} {
		if _, err := Pack(entries); err == nil {
			t.Errorf("%q: packed", entries[0].Path)
		}
	}
}

// cpio runs the program of that name on an archive.
func cpio(t *testing.T, archive []byte, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("cpio")
	if err != nil {
		if os.Getenv("BEFFROI_REQUIRE_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skip("cpio is not installed")
	}
	cmd := exec.Command(program, append(args, "--quiet")...)
	cmd.Stdin = bytes.NewReader(archive)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// What is not compressed has nothing but these sums: a byte that flips is seen by them.
func TestAForeignProgramFindsTheSumsRight(t *testing.T) {
	archive, err := Pack([]Entry{File("usr.squashfs", bytes.Repeat([]byte("QEMU \xff"), 1000))})
	if err != nil {
		t.Fatal(err)
	}
	const fault = "checksum error"
	if out := cpio(t, archive, "-i", "--only-verify-crc"); strings.Contains(out, fault) {
		t.Errorf("an archive as it was packed: %s", out)
	}
	archive[bytes.Index(archive, []byte("QEMU"))+2000] ^= 0x10
	if out := cpio(t, archive, "-i", "--only-verify-crc"); !strings.Contains(out, fault) {
		t.Errorf("a flipped byte: %q", out)
	}
}

func TestAForeignProgramListsTheArchive(t *testing.T) {
	out := cpio(t, skeleton(t), "-tv")
	for _, want := range []string{" init\n", " beffroi/bin/beffroi\n", " lib -> usr/lib\n", " beffroi/bin/sh -> gosh\n", " beffroi/bin/ls -> bb\n",
		" etc/mke2fs.conf\n", "drwxrwxrwt", "crw------- ", " beffroi\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

func TestWhatIsCompressedIsTheSameArchive(t *testing.T) {
	a := skeleton(t)
	var packed bytes.Buffer
	if err := Compress(&packed, a); err != nil {
		t.Fatal(err)
	}
	if packed.Len()%4 != 0 {
		t.Errorf("%d bytes", packed.Len())
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := z.DecodeAll(bytes.TrimRight(packed.Bytes(), "\x00"), nil)
	if err != nil || !bytes.Equal(got, a) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestModulesComeWithWhatTheyNeed(t *testing.T) {
	known := map[string]module{
		"crc32c_generic": {aliases: []string{"crc32c"}},
		"crc32c_intel":   {aliases: []string{"crc32c"}},
		"libcrc32c":      {},
	}
	for _, tc := range []struct{ soft, want string }{{"crc32c", "crc32c_generic"}, {"libcrc32c", "libcrc32c"}, {"none", ""}} {
		if got := strings.Join(provide(tc.soft, known), " "); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.soft, got, tc.want)
		}
	}
	known["ext4"] = module{path: "kernel/fs/ext4.ko", needs: []string{"libcrc32c", "builtin"}, aliases: []string{"fs-ext4"}}
	m, err := collect("6.1", known, map[string]bool{"ext4": true, "libcrc32c": true})
	if err != nil {
		t.Fatal(err)
	}
	var list, alias string
	for _, e := range m.Entries {
		switch e.Path {
		case "modules/6.1/modules.list":
			list = string(e.Data)
		case "modules/6.1/modules.alias":
			alias = string(e.Data)
		}
	}
	if !strings.HasPrefix(list, "ext4 kernel/fs/ext4.ko.zst libcrc32c\n") || alias != "alias fs-ext4 ext4\n" {
		t.Errorf("%q, %q", list, alias)
	}
}
