package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"beffroi.dev/pkg/block/nbd"
	"beffroi.dev/pkg/disk"
	"beffroi.dev/pkg/guest/qemu"
	"beffroi.dev/pkg/guest/vm"
)

// missing skips a test with its reason, or fails it where tools are required.
func missing(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("BEFFROI_REQUIRE_TOOLS") == "1" {
		t.Fatalf("%s is required: %v", what, err)
	}
	t.Skipf("%s is not installed", what)
}

func needProgram(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing(t, name, err)
		}
	}
}

func TestTheProgramIsThatOfItsSource(t *testing.T) {
	needProgram(t, "as", "ld")
	dir := t.TempDir()
	object, binary := filepath.Join(dir, "o"), filepath.Join(dir, "b")
	for _, cmd := range [][]string{{"as", "--32", "-o", object, "boot.asm"}, {"ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", binary, object}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	if got, err := os.ReadFile(binary); err != nil || !bytes.Equal(got, boot) {
		t.Errorf("boot.bin is not what boot.asm assembles to (%v)", err)
	}
}

func kernel() []byte {
	k := make([]byte, 8192)
	k[0x1f1] = 3
	copy(k[0x202:], "HdrS\x0f\x02")
	k[0x211] = 1
	copy(k[4*sector:], "the kernel")
	return k
}

func TestTheTableLeadsToThePieces(t *testing.T) {
	image, err := build(kernel(), []byte("the files"), "quiet")
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		begin   string
		address uint32
	}{{"", setupAddress}, {"the kernel", kernelAddress}, {"quiet\x00", commandAddress}, {"the files", initrdAddress}}
	for n, w := range want {
		entry := image[tableOffset+12*n:]
		at := int(binary.LittleEndian.Uint32(entry)) * sector
		if got := binary.LittleEndian.Uint32(entry[8:]); got != w.address || !bytes.HasPrefix(image[at:], []byte(w.begin)) {
			t.Errorf("piece %d goes to %#x and begins %q; want %#x and %q", n, got, image[at:at+10], w.address, w.begin)
		}
	}
	if len(image)%(1<<20) != 0 || image[510] != 0x55 || image[511] != 0xaa {
		t.Errorf("%d bytes, signature %x", len(image), image[510:512])
	}
}

func TestWhatCannotBeBootedIsRefused(t *testing.T) {
	low := kernel()
	low[0x211] = 0
	tests := []struct {
		name    string
		kernel  []byte
		command string
		want    string
	}{
		{"no kernel", []byte("hello"), "", "boot header"},
		{"an old kernel", append(kernel()[:0x206], make([]byte, 4096)...), "", "boot header"},
		{"a kernel that wants to be low", low, "", "low"},
		{"a long command line", kernel(), strings.Repeat("x", maxCommand), "at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := build(tt.kernel, nil, tt.command); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("build = %v; want %q", err, tt.want)
			}
		})
	}
}

type single struct{ export nbd.Export }

func (s single) Open(string) (nbd.Export, error) { return s.export, nil }
func (s single) List() []string                  { return []string{s.export.Name} }

// says boots an image from our own NBD server and waits for words on its serial
// line.
func says(t *testing.T, image, words string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bd") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	dev, err := disk.OpenFile(image)
	if err != nil {
		t.Fatal(err)
	}
	queue := disk.NewQueue(context.Background(), dev, 4)
	server, err := nbd.NewServer(nbd.Config{}, single{nbd.Export{Name: "guest", Queue: queue}}, log)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "nbd")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(context.Background(), l) }()
	v, err := vm.Open(vm.Config{Name: "guest", Dir: filepath.Join(dir, "vm")}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = v.ForceOff(context.Background())
		_ = v.Close()
		_ = server.Close(context.Background())
		<-served
		_ = errors.Join(queue.Close(), dev.Close(), os.RemoveAll(dir))
	})
	err = v.Start(context.Background(), qemu.Spec{
		Name: "guest", UUID: "0b5e1f6e-7a3c-4d1e-9a77-0123456789ab", CPUs: 1, MemoryMB: 512, Firmware: qemu.BIOS, Accel: qemu.TCG,
		Disks: []qemu.Disk{{Socket: socket, Export: "guest"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for time.Since(start) < 90*time.Second {
		if out, err := v.SerialTail(); err == nil && bytes.Contains(out, []byte(words)) {
			t.Logf("%q after %v", words, time.Since(start).Round(100*time.Millisecond))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	out, _ := v.SerialTail()
	t.Errorf("it never said %q; its last words: %q", words, out[max(0, len(out)-300):])
}

func TestGuestsThatNobodyHereWroteBootFromOurServer(t *testing.T) {
	needProgram(t, "qemu-system-x86_64")
	if testing.Short() {
		t.Skip("it takes half a minute without KVM")
	}
	const installer = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/"
	tests := []struct {
		name  string
		files []string
		args  []string
		words string
	}{
		{"memtest86+", []string{"/boot/memtest86+x64.bin"}, []string{"-append", "console=ttyS0,115200", "-kernel"}, "Memtest86+"},
		{"debian installer", []string{installer + "linux", installer + "initrd.gz"}, []string{"-append", "console=ttyS0 TERM=vt102", "-initrd", installer + "initrd.gz", "-kernel"}, "Starting system log daemon"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, f := range tt.files {
				if _, err := os.Stat(f); err != nil {
					missing(t, tt.name, err)
				}
			}
			image := filepath.Join(t.TempDir(), "image")
			if err := run(append(tt.args, tt.files[0], "-o", image)); err != nil {
				t.Fatal(err)
			}
			says(t, image, tt.words)
		})
	}
}
