package vmtest

import (
	"bytes"
	"crypto/sha256"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"beffroi.dev/pkg/host/layout"
	"beffroi.dev/pkg/host/slots"
	"beffroi.dev/tools/vmpair"
)

// table opens an image and reads its partitions.
func table(t *testing.T, file string) (*os.File, layout.Table) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	all, err := layout.Read(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return f, all
}

// part finds a partition of an image.
func part(t *testing.T, file string, kind layout.GUID) layout.Partition {
	t.Helper()
	_, all := table(t, file)
	p, ok := all.Find(kind)
	if !ok {
		t.Fatal("the image lacks a partition")
	}
	return p
}

// onlyESP takes every other partition out of a disk's table.
func onlyESP(t *testing.T, file string) {
	t.Helper()
	f, all := table(t, file)
	all.Partitions = slices.DeleteFunc(all.Partitions, func(p layout.Partition) bool { return p.Type != layout.TypeESP })
	if err := all.Write(f); err != nil {
		t.Fatal(err)
	}
}

// addEntry puts the built kernel image under another name on a disk's ESP: the loader
// sees two releases.
func addEntry(t *testing.T, file, name string) {
	t.Helper()
	at := fmt.Sprintf("%s@@%d", file, part(t, file, layout.TypeESP).Offset())
	copying := exec.CommandContext(t.Context(), "mcopy", "-i", at, builtKernel(t), "::/"+slots.Folder+"/"+name)
	if out, err := copying.CombinedOutput(); err != nil {
		t.Fatalf("mcopy: %v: %s", err, out)
	}
}

// builtKernel is the file of the image's UKI.
func builtKernel(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root(t), "out", "image", "beffroi_*.efi"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the built kernel image: %v, %v", found, err)
	}
	return found[0]
}

// put writes bytes into a disk.
func put(t *testing.T, file string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// A seed that this release does not understand, or that is torn, is refused in words
// and stays where it is.
func TestSeedsThatAreRefused(t *testing.T) {
	long(t)
	for name, s := range map[string]struct {
		doc   string
		spoil bool
		want  string
	}{
		"an unknown key": {`{"colour":"blue"}`, false, `unknown field "colour"`},
		"a torn one":     {`{"node":null}`, true, "checksum does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			file := disk(t, image(t), 0)
			b := append([]byte("BFRSEED\x00"), 1, 0, 0, 0)
			b = binary.LittleEndian.AppendUint32(b, uint32(len(s.doc)))
			sum := sha256.Sum256([]byte(s.doc))
			if s.spoil {
				sum[0] ^= 1
			}
			put(t, file, part(t, file, layout.TypeSeed).Offset(), append(append(b, sum[:]...), s.doc...))
			m := alone(t, vmpair.Alone{Disk: file})
			t.Log(shows(t, m, "La graine est abîmée", s.want))
			once(t, m)
			wayOn(t, m)
		})
	}
}

// filled gives an image a state file system with something in it.
func filled(t *testing.T, file string) layout.Partition {
	t.Helper()
	p := part(t, file, layout.TypeState)
	fs := filepath.Join(t.TempDir(), "state")
	dir := filepath.Join(t.TempDir(), "content", "node")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kept"), bytes.Repeat([]byte("kept"), 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(fs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(fs, p.Size()); err != nil {
		t.Fatal(err)
	}
	mkfs := exec.CommandContext(t.Context(), "/sbin/mkfs.ext4", "-q", "-F", "-L", "beffroi-state", "-O", "metadata_csum", "-d", filepath.Dir(dir), fs)
	if out, err := mkfs.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(fs)
	if err != nil {
		t.Fatal(err)
	}
	put(t, file, p.Offset(), b)
	return p
}

// A state partition whose first superblock is gone is repaired by the copy that lies
// on it; what is damaged beyond that is refused, and never formatted.
func TestADamagedState(t *testing.T) {
	long(t)
	t.Run("the superblock is gone", func(t *testing.T) {
		file := disk(t, image(t), 0)
		p := filled(t, file)
		put(t, file, p.Offset(), make([]byte, 4096))
		m := alone(t, vmpair.Alone{Disk: file})
		shows(t, m, firstScreen...)
		t.Log(bootMenu(t, m, "Partition d'état", "fait"))
		once(t, m)
	})
	t.Run("random bytes in its middle", func(t *testing.T) {
		file := disk(t, image(t), 0)
		p := filled(t, file)
		r := rand.New(rand.NewPCG(1, 2))
		noise := make([]byte, 8<<20)
		for i := range noise {
			noise[i] = byte(r.Uint32())
		}
		for _, at := range []int64{1 << 20, p.Size() / 4, p.Size() / 2} {
			put(t, file, p.Offset()+at, noise)
		}
		m := alone(t, vmpair.Alone{Disk: file})
		t.Log(shows(t, m, "Partition d'état", "ÉCHEC, réessai", "Le système de fichiers de la partition d'état est abîmé", "Écrivez l'image sur un disque"))
		once(t, m)
		wayOn(t, m)
	})
}

// An ESP that is no file system any more ends on the firmware's own screen: nothing of
// ours can run. Firmware that finds nothing to start says so, or opens its own shell.
func TestADamagedESP(t *testing.T) {
	long(t)
	file := disk(t, image(t), 0)
	put(t, file, part(t, file, layout.TypeESP).Offset(), make([]byte, 64<<10))
	m := alone(t, vmpair.Alone{Disk: file})
	screen, err := m.Line.AwaitAny(within(t, bootBound), "No bootable option or device was found", "Shell>")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(screen)
	if n := strings.Count(m.Said(), "BdsDxe: starting"); n > 1 {
		t.Errorf("the firmware started %d things: it goes round", n)
	}
	t.Run("and is written again", func(t *testing.T) {
		readme, err := os.ReadFile(filepath.Join(root(t), "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		command := regexp.MustCompile(`dd if=beffroi.img of=/dev/sdX (bs=1M skip=\S+ seek=\S+ count=\S+ conv=\S+)`).FindStringSubmatch(string(readme))
		if command == nil {
			t.Fatal("README.md names no command")
		}
		dd := exec.CommandContext(t.Context(), "dd", append([]string{"if=" + image(t), "of=" + file}, strings.Fields(command[1])...)...)
		if out, err := dd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		shows(t, alone(t, vmpair.Alone{Disk: file}), firstScreen...)
	})
}

// A disk that the image does not fit on: dd said so, and so does the node.
func TestADiskThatIsTooSmall(t *testing.T) {
	long(t)
	t.Run("the image's end is missing", func(t *testing.T) {
		file := disk(t, image(t), 0)
		p := part(t, file, layout.TypeStore)
		if err := os.Truncate(file, p.Offset()+p.Size()/2); err != nil {
			t.Fatal(err)
		}
		m := alone(t, vmpair.Alone{Disk: file})
		t.Log(shows(t, m, "Partitions du disque", "ÉCHEC, réessai", "Le disque est plus petit que l'image", "too small"))
		once(t, m)
		wayOn(t, m)
	})
}

// kernelImage is where the UKI lies on a disk: the writer of the ESP leaves files in
// one piece.
func kernelImage(t *testing.T, file string) (at int64, b []byte) {
	t.Helper()
	b, err := os.ReadFile(builtKernel(t))
	if err != nil {
		t.Fatal(err)
	}
	p := part(t, file, layout.TypeESP)
	esp := make([]byte, p.Size())
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(esp, p.Offset()); err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(esp, b)
	if i < 0 {
		t.Fatal("the kernel image does not lie in one piece on the ESP")
	}
	return p.Offset() + int64(i), b
}

// A kernel image with a flipped byte ends in words, and does not start over: in the
// kernel's if nobody checks signatures, in the firmware's or the loader's with Secure
// Boot.
func TestAFlippedByte(t *testing.T) {
	long(t)
	file := disk(t, image(t), 0)
	at, b := kernelImage(t, file)
	f, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Section(".initrd")
	flip := func(where int64) { put(t, file, at+where, []byte{b[where] ^ 0x10}) }
	heal := func(where int64) { put(t, file, at+where, []byte{b[where]}) }
	nobodyChecks := func(t *testing.T, want string) {
		m := alone(t, vmpair.Alone{Disk: file})
		shows(t, m, "end Kernel panic")
		if n := strings.Count(m.Said(), "EFI stub: Loaded initrd"); n != 1 || !strings.Contains(m.Said(), want) {
			t.Errorf("it started %d times; want once, and the words %q", n, want)
		}
		t.Log(m.Line.Screen())
	}
	// QEMU's squashfs, which is not compressed once more.
	userland := int64(bytes.Index(b, []byte("usr.squashfs\x00"))) + 8<<20
	flip(userland)
	t.Run("in QEMU, and nobody checks", func(t *testing.T) { nobodyChecks(t, "Initramfs unpacking failed: bad data checksum") })
	heal(userland)
	// In the last archive of the chain, which holds our programs.
	flip(int64(s.Offset+s.Size) - 3<<20)
	t.Run("in our programs, and nobody checks", func(t *testing.T) { nobodyChecks(t, "Initramfs unpacking failed") })
	t.Run("Secure Boot", func(t *testing.T) {
		m := alone(t, secure(t, file, ownKey(t)))
		t.Log(shows(t, m, refusal...))
	})
}

// refusal are the words of firmware and loader about a signature that is not right.
var refusal = []string{"Access Denied"}

// ownKey is the certificate that the image was signed for.
func ownKey(t *testing.T) string {
	return filepath.Join(root(t), "out", "image", "keys", "development.pem")
}

// secure is a server whose owner has enrolled a key.
func secure(t *testing.T, file, cert string) vmpair.Alone {
	t.Helper()
	vars := filepath.Join(t.TempDir(), "vars.fd")
	if err := vmpair.Enroll(cert, vars); err != nil {
		t.Fatal(err)
	}
	return vmpair.Alone{Disk: file, Code: vmpair.Secure, Vars: vars}
}

// With Secure Boot on, the image boots where its key is enrolled, and nowhere else.
func TestSecureBoot(t *testing.T) {
	long(t)
	t.Run("with our key", func(t *testing.T) {
		m := alone(t, secure(t, image(t), ownKey(t)))
		t.Log(shows(t, m, firstScreen...))
		once(t, m)
	})
	t.Run("with a foreign key", func(t *testing.T) {
		key, cert := filepath.Join(t.TempDir(), "k"), filepath.Join(t.TempDir(), "c")
		make := exec.CommandContext(t.Context(), "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=foreign", "-days", "3650", "-keyout", key, "-out", cert)
		if out, err := make.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		m := alone(t, secure(t, image(t), cert))
		t.Log(shows(t, m, refusal...))
	})
}
