package importer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/disk"
)

// header is a qcow2 header that is accepted.
func header() []byte {
	b := make([]byte, 128)
	copy(b, qcowMagic)
	binary.BigEndian.PutUint32(b[4:], 3)
	binary.BigEndian.PutUint32(b[20:], 16)
	binary.BigEndian.PutUint64(b[24:], 1<<30)
	binary.BigEndian.PutUint32(b[100:], 112)
	return b
}

func TestAFileIsRefusedOrKnownForWhatItIs(t *testing.T) {
	qcow := func(edit func([]byte)) []byte { b := header(); edit(b); return b }
	raw := func(off int, s string) []byte { b := make([]byte, 128<<10); copy(b[off:], s); return b }
	tests := []struct {
		name string
		file []byte
		want Image
		err  string
	}{
		{"qcow2 version 3", header(), Image{Format: Qcow2, VirtualSize: 1 << 30}, ""},
		{"qcow2 version 2", qcow(func(b []byte) { b[7] = 2 }), Image{Format: Qcow2, VirtualSize: 1 << 30}, ""},
		{"qcow2 version 4", qcow(func(b []byte) { b[7] = 4 }), Image{}, "versions 2 and 3"},
		{"qcow2 with a backing file", qcow(func(b []byte) { b[15] = 200 }), Image{}, "backing file"},
		{"qcow2 with encryption", qcow(func(b []byte) { b[35] = 2 }), Image{}, "encrypted"},
		{"qcow2 with an external data file", qcow(func(b []byte) { b[79] = qcowExternalData }), Image{}, "another file"},
		{"qcow2 marked corrupt", qcow(func(b []byte) { b[79] = qcowCorrupt }), Image{}, "corrupt"},
		{"qcow2 with an unknown feature", qcow(func(b []byte) { b[72] = 0x80 }), Image{}, "not known"},
		{"qcow2 of no size", qcow(func(b []byte) { clear(b[24:32]) }), Image{}, "virtual size"},
		{"qcow2 of an absurd size", qcow(func(b []byte) { b[24] = 0x7f }), Image{}, "virtual size"},
		{"qcow2 with absurd clusters", qcow(func(b []byte) { b[23] = 63 }), Image{}, "clusters"},
		{"qcow2 cut short", header()[:90], Image{}, "cut short"},
		{"raw with an MBR", raw(510, "\x55\xaa"), Image{Raw, 128 << 10, "boot sector or MBR"}, ""},
		{"raw with a GPT", raw(512, "EFI PART"), Image{Raw, 128 << 10, "GPT"}, ""},
		{"raw ext4", raw(1080, "\x53\xef"), Image{Raw, 128 << 10, "ext2/3/4"}, ""},
		{"an ISO", raw(32769, "CD001"), Image{Raw, 128 << 10, "ISO 9660"}, ""},
		{"zeros", make([]byte, 1<<20), Image{}, "begins like neither"},
		{"a text", []byte(strings.Repeat("hello, world...\n", 64)), Image{}, "begins like neither"},
		{"half a sector", make([]byte, 700), Image{}, "multiple of 512"},
		{"nothing", nil, Image{}, "multiple of 512"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(path, tt.file, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Inspect(path)
			if got != tt.want || (err == nil) != (tt.err == "") {
				t.Errorf("Inspect = %+v, %v; want %+v and %q", got, err, tt.want, tt.err)
			}
			if err != nil && (!errors.Is(err, ErrImage) || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("Inspect = %v; want ErrImage with %q", err, tt.err)
			}
		})
	}
	if _, err := Inspect(t.TempDir()); !errors.Is(err, ErrImage) {
		t.Errorf("Inspect of a folder = %v; want ErrImage", err)
	}
}

// volume is a file that was dirty before.
func volume(t *testing.T, size int64) (string, disk.Queue, *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume")
	if err := disk.CreateFile(path, size); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := disk.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	q := disk.NewQueue(context.Background(), dev, 4)
	t.Cleanup(func() { _ = errors.Join(q.Close(), dev.Close(), f.Close()) })
	return path, q, f
}

func sparse(t *testing.T, size int64) (string, []byte) {
	t.Helper()
	want := make([]byte, size)
	want[510], want[511] = 0x55, 0xaa
	rand.NewChaCha8([32]byte{5}).Read(want[5<<20 : 6<<20+512])
	path := filepath.Join(t.TempDir(), "image.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := f.WriteAt(want[:512], 0)
	_, err2 := f.WriteAt(want[5<<20:6<<20+512], 5<<20)
	if err := errors.Join(err1, err2, f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path, want
}

func TestARawImageIsCopiedAndItsHolesBecomeZeros(t *testing.T) {
	const size = 16<<20 + 512
	path, want := sparse(t, size)
	image, err := Inspect(path)
	if err != nil {
		t.Fatal(err)
	}
	_, q, back := volume(t, 20<<20)
	if _, err := back.WriteAt(bytes.Repeat([]byte{0xee}, 20<<20), 0); err != nil {
		t.Fatal(err)
	}
	if err := back.Sync(); err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	progress := func(done, total int64) {
		if done <= last || total != size {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}
	if err := Copy(context.Background(), Config{}, path, image, Target{Queue: q}, progress); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, size+1)
	if _, err := back.ReadAt(got, 0); err != nil || !bytes.Equal(got[:size], want) || got[size] != 0xee || last != size {
		t.Errorf("the copy differs, or went past its end, or stopped at %d (%v)", last, err)
	}
}

func TestACopyEndsWithItsContextAndWithTheFirstError(t *testing.T) {
	path, _ := sparse(t, 16<<20)
	image, _ := Inspect(path)
	_, q, _ := volume(t, 16<<20)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Copy(ctx, Config{}, path, image, Target{Queue: q}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled copy = %v", err)
	}
	if err := Copy(context.Background(), Config{}, path, image, Target{Queue: full{q}}, nil); !errors.Is(err, disk.ErrNoSpace) {
		t.Errorf("a copy to a full store = %v", err)
	}
	_, small, _ := volume(t, 1<<20)
	if err := Copy(context.Background(), Config{}, path, image, Target{Queue: small}, nil); err == nil {
		t.Error("a volume that is too small was accepted")
	}
	if err := Copy(context.Background(), Config{}, path, Image{Format: Qcow2, VirtualSize: 512}, Target{Queue: q}, nil); err == nil {
		t.Error("a qcow2 without an address was accepted")
	}
}

type full struct{ disk.Queue }

func (f full) Submit(batch []*disk.Request) {
	for _, r := range batch {
		r.Err = disk.ErrNoSpace
		disk.Finish(r)
	}
}

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

func TestAQcow2ImageIsConvertedOverNBD(t *testing.T) {
	need(t, "qemu-img", "qemu-nbd")
	raw, want := sparse(t, 16<<20)
	qcow := filepath.Join(t.TempDir(), "image.qcow2")
	if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, qcow).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v\n%s", err, out)
	}
	image, err := Inspect(qcow)
	if err != nil || image.Format != Qcow2 || image.VirtualSize != 16<<20 {
		t.Fatalf("Inspect = %+v, %v", image, err)
	}
	// A foreign NBD server stands for the block service, over the file of a plain
	// queue: this package does not import ours.
	path := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xee}, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	server := exec.Command("qemu-nbd", "-f", "raw", "-x", "v", "-t", "-k", socket, path)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
	}
	_, q, _ := volume(t, 16<<20)
	last := int64(0)
	target := Target{Queue: q, URI: "nbd+unix:///v?socket=" + socket}
	if err := Copy(context.Background(), Config{}, qcow, image, target, func(done, _ int64) { last = done }); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) || last != 16<<20 {
		t.Errorf("the conversion differs, or ended at %d (%v)", last, err)
	}
	target.URI = "nbd+unix:///absent?socket=" + socket
	if err := Copy(context.Background(), Config{}, qcow, image, target, nil); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("a conversion to nowhere = %v; want qemu-img's words", err)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(header())
	f.Add(make([]byte, 1024))
	f.Fuzz(func(t *testing.T, b []byte) {
		image, err := inspect(bytes.NewReader(b), int64(len(b)))
		if err == nil && (image.VirtualSize <= 0 || image.VirtualSize > maxSize || image.VirtualSize%sector != 0) {
			t.Fatalf("accepted %+v", image)
		}
	})
}
